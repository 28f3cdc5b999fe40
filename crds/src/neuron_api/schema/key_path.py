"""Key paths of the configuration: `model.optim.lr` to the field that has its type, default and meaning."""

from collections.abc import Iterator, Mapping
from functools import cache
from types import UnionType
from typing import Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from neuron_api.config import TrainingConfig


@cache
def fields(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """Return a section's fields by their keys in the document."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def section_of(info: FieldInfo) -> type[BaseModel] | None:
    """Return the section that a field holds; None for a scalar or list."""
    for candidate in (info.annotation, *get_args(info.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def choices(info: FieldInfo) -> tuple[str, ...]:
    """Return the values of a field whose type is a fixed list of them, apart from null."""
    is_union = get_origin(info.annotation) in (Union, UnionType)
    members = get_args(info.annotation) if is_union else (info.annotation,)
    kinds = [member for member in members if member is not type(None)]
    return get_args(kinds[0]) if len(kinds) == 1 and get_origin(kinds[0]) is Literal else ()


def is_open(model: type[BaseModel]) -> bool:
    """Return whether the section allows keys of the user's own."""
    return model.model_config.get("extra") == "allow"


def field_of(path: str) -> FieldInfo | None:
    """Return the field at a key path; None if there is none."""
    model: type[BaseModel] | None = TrainingConfig
    info: FieldInfo | None = None
    for part in path.split("."):
        info = fields(model).get(part) if model else None
        if info is None:
            return None
        model = section_of(info)
    return info


def all_paths(model: type[BaseModel] = TrainingConfig, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every key path with its field, sections before their keys, in the order of the models."""
    for key, info in fields(model).items():
        yield f"{prefix}{key}", info
        if (section := section_of(info)) is not None:
            yield from all_paths(section, f"{prefix}{key}.")
