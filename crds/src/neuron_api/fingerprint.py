"""The hash of an effective configuration: the same for text and object form, whatever the order of the keys."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from .config import TrainingConfig
from .schema.key_path import fields, section_of


def compute(effective: Mapping[str, Any]) -> str:
    """Return the SHA-256 of canonical JSON in hexadecimal."""
    text = json.dumps(_section(effective, TrainingConfig), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _section(values: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    return {key: _value(value, fields(model).get(key)) for key, value in values.items()}


def _value(value: Any, info: FieldInfo | None) -> Any:
    """Return the value; untyped floats without a fraction become integers, as the API server stores 1.0 as 1 (R3)."""
    section = section_of(info) if info is not None else None
    if section is not None and isinstance(value, Mapping):
        return _section(value, section)
    return _without_point(value) if info is None or _is_untyped(info.annotation) else value


def _is_untyped(annotation: Any) -> bool:
    return annotation is Any or any(map(_is_untyped, get_args(annotation)))


def _without_point(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_point(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_point(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
