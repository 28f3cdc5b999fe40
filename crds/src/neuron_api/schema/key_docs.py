"""Documentation of one key, from the typed models: type, default, meaning, codes, and its support in this release.

The reference pages and `kubectl neuron plan --explain` show it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from neuron_api.findings import registry

from . import support
from .key_path import field_of, fields, section_of
from .support import SupportLevel

_NAMES: Final = {int: "whole number", float: "number", bool: "true or false", str: "text", Any: "anything"}


@dataclass(frozen=True, slots=True)
class KeyDoc:
    """The documentation of one key path."""

    path: str
    kind: str
    """Type and bounds: `whole number or null, >= 1`."""
    default: str
    """As written in a file; `none, it is required`."""
    is_required: bool
    meaning: str
    codes: tuple[str, ...]
    """Codes of findings about it."""
    below: tuple[str, ...]
    """Names of its keys, if it is a section."""
    support: SupportLevel
    """How far this release supports it."""


def lookup(path: str) -> KeyDoc | None:
    """Return the documentation of a key; None if there is no such key."""
    info = field_of(path)
    if info is None:
        return None
    section = section_of(info)
    return KeyDoc(
        path=path,
        kind=_kind(info),
        default=_default(info),
        is_required=info.is_required(),
        meaning=" ".join((info.description or "").split()),
        codes=registry.codes_for(path),
        below=tuple(fields(section)) if section else (),
        support=support.level_of(path),
    )


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "none, it is required"
    default = info.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        return "the defaults of its keys"
    if default is PydanticUndefined or default is None:
        return "null"
    if default == "":
        return "''"
    return str(default) if not isinstance(default, tuple) else f"[{', '.join(map(str, default))}]"


def _kind(info: FieldInfo) -> str:
    words, bounds = _type(info.annotation, tuple(info.metadata))
    return ", ".join((words, *dict.fromkeys(bounds)))


def _type(annotation: Any, metadata: tuple[Any, ...] = ()) -> tuple[str, list[str]]:
    """Return words for a type, and its bounds, which follow after all members of a union."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], (*metadata, *arguments[1:]))
    bounds = _bounds(metadata)
    if "quantity" in metadata:
        return "whole number or fraction", bounds
    if origin in (Union, UnionType):
        return _union(arguments, bounds)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}", bounds
    if origin is tuple:
        return _list(arguments, bounds)
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "mapping", bounds
    return _NAMES[annotation], bounds


def _union(members: Iterable[Any], bounds: list[str]) -> tuple[str, list[str]]:
    words = []
    for member in members:
        if member is not type(None):
            word, inner = _type(member)
            words.append(word)
            bounds = [*inner, *bounds]
    return " or ".join(dict.fromkeys((*words, *(["null"] if type(None) in members else [])))), bounds


def _list(items: tuple[Any, ...], bounds: list[str]) -> tuple[str, list[str]]:
    word, inner = _type(items[0])
    count = "" if Ellipsis in items else f"{len(items)} "
    each = f" ({', '.join(inner)})" if inner else ""
    plural = {"number": "numbers", "text": "texts"}.get(word, f"items, each {word}")
    return f"list of {count}{plural}{each}", bounds


def _bounds(metadata: tuple[Any, ...]) -> list[str]:
    bounds = []
    for item in metadata:
        for constraint in (item, *getattr(item, "metadata", ())):
            match constraint:
                case Ge(ge=bound):
                    bounds.append(f">= {bound}")
                case Gt(gt=bound):
                    bounds.append(f"> {bound}")
                case Le(le=bound):
                    bounds.append(f"<= {bound}")
                case Lt(lt=bound):
                    bounds.append(f"< {bound}")
                case MinLen(min_length=count):
                    bounds.append(f"at least {count} characters" if count > 1 else "not empty")
                case MaxLen(max_length=count):
                    bounds.append(f"at most {count} characters")
    return bounds
