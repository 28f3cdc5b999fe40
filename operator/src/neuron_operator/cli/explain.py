"""`--explain KEY`: what a key means, what it may be, what it is when it is absent; out of the typed models."""

from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from neuron_api import registry
from neuron_api.names import nearest
from neuron_api.paths import all_paths, field_of, fields, section_of
from neuron_operator.errors import UserInputError

_NAMES: Final = {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): "null"}
_BOUNDS: Final = (("ge", ">= {}"), ("gt", "> {}"), ("le", "<= {}"), ("lt", "< {}"))


def text(key: str) -> str:
    """A few lines for a key path, with or without `spec.config.` before it."""
    path = key.removeprefix("spec.").removeprefix("config.")
    info = field_of(path)
    if info is None:
        near = nearest(path, [known for known, _ in all_paths()])
        raise UserInputError(f"there is no key {path}{f'; did you mean {near}?' if near else ''}")
    section = section_of(info)
    lines = [path, f"  type     {_type(info.annotation, tuple(info.metadata))}", f"  default  {_default(info)}"]
    if codes := registry.codes_of(path):
        lines.append(f"  checks   {', '.join(codes)}")
    lines += ["", f"  {' '.join((info.description or '').split())}"]
    if section is not None:
        lines += ["", "  keys", *(f"    {name}" for name in fields(section))]
    return "\n".join(lines) + "\n"


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "none, it is required"
    default = info.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        return "the defaults of its keys"
    if default is PydanticUndefined or default is None:
        return "null"
    return str(default) if not isinstance(default, tuple) else f"[{', '.join(map(str, default))}]"


def _type(annotation: Any, metadata: tuple[Any, ...]) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return _type(inner, (*metadata, *more))
    bounds = _bounds(metadata)
    if origin in (Union, UnionType):
        members = dict.fromkeys(_type(member, ()) for member in get_args(annotation))
        return f"{' or '.join(members)}{bounds}"
    if origin is Literal:
        return f"one of {', '.join(map(str, get_args(annotation)))}"
    if origin is tuple:
        items = [item for item in get_args(annotation) if item is not Ellipsis]
        return f"list of {_type(items[0], ())}{bounds}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return f"{_NAMES.get(annotation, 'mapping' if origin is dict else 'anything')}{bounds}"


def _bounds(metadata: tuple[Any, ...]) -> str:
    found = []
    for item in metadata:
        constraints = (item, *getattr(item, "metadata", ()))
        found += [
            words.format(getattr(one, name))
            for one in constraints
            for name, words in _BOUNDS
            if getattr(one, name, None) is not None
        ]
    return f", {', '.join(found)}" if found else ""
