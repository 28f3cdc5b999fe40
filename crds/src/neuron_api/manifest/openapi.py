"""pydantic model to structural OpenAPI v3, as Kubernetes wants it in a CRD.

Structural means: a type for every node, no `$ref`, no `anyOf` over types, `additionalProperties` never beside
`properties`. Two dialects:

* `Dialect.API` for spec and status: plain types.
* `Dialect.CONFIG` for the NxDT configuration, whose scalars may be interpolations (`${trainer.max_steps}`): integers
  become int-or-string. A key that means different things for 1 and 1.0 (`Quantity`) does, too: the API server stores
  1.0 as 1, so a fraction is written as a string. A float has no such type in Kubernetes and stays open; the operator
  checks it.
"""

import types
from collections.abc import Iterable, Mapping
from enum import StrEnum
from inspect import cleandoc
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from neuron_api.config import TrainingConfig
from neuron_api.schema.key_path import choices

Schema = dict[str, Any]

WORD: Final = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
"""Form of a word in a status: the pattern of `reason` in metav1.Condition."""
DECIMAL: Final = r"^(-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?|-?inf|nan)$"
"""Form of a number in a status that is no integer."""


class Dialect(StrEnum):
    """The schema's form of scalars."""

    API = "api"
    CONFIG = "config"


def object_schema(model: type[BaseModel], dialect: Dialect, *, replace: Mapping[str, Schema] | None = None) -> Schema:
    """Return the schema of a model; `replace` overrides the schema of fields by wire name."""
    properties: dict[str, Schema] = {}
    required = []
    for name, info in model.model_fields.items():
        wire = info.alias or name
        replacement = (replace or {}).get(wire)
        schema = replacement if replacement is not None else _field(info, dialect)
        properties[wire] = _described(schema, info)
        if info.is_required() and "conditional" not in info.metadata:
            required.append(wire)
    result: Schema = {"type": "object", "properties": properties}
    if required:
        result["required"] = sorted(required)
    if model.model_config.get("extra") == "allow":
        result["x-kubernetes-preserve-unknown-fields"] = True
    return result


def config_schema() -> Schema:
    """Return the schema of `spec.config`."""
    schema = object_schema(TrainingConfig, Dialect.CONFIG)
    schema["description"] = first_paragraph(TrainingConfig)
    return schema


def first_paragraph(model: type[BaseModel]) -> str:
    """Return the model's docstring up to the first blank line."""
    return cleandoc(model.__doc__ or "").split("\n\n", maxsplit=1)[0].replace("\n", " ")


def _described(schema: Schema, info: FieldInfo) -> Schema:
    text = cleandoc(info.description or "").replace("\n", " ")
    if (values := choices(info)) and any(value not in text for value in values):
        text += f" One of {', '.join(values)}."
    return {**({"description": text} if text else {}), **schema}


def _field(info: FieldInfo, dialect: Dialect) -> Schema:
    annotation, nullable = _without_none(info.annotation)
    schema = _type(annotation, dialect, tuple(info.metadata))
    if nullable and dialect is Dialect.CONFIG:
        schema["nullable"] = True
    return schema


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        nullable = len(members) < len(get_args(annotation))
        return (members[0] if len(members) == 1 else Union[tuple(members)]), nullable  # noqa: UP007
    return annotation, False


def _type(annotation: Any, dialect: Dialect, metadata: Iterable[Any] = ()) -> Schema:
    metadata = tuple(metadata)
    if get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        return _type(inner, dialect, (*metadata, *extra))
    if "decimal" in metadata:
        return {"type": "string", "maxLength": 32, "pattern": DECIMAL}
    if dialect is Dialect.CONFIG and "quantity" in metadata:
        return {"x-kubernetes-int-or-string": True}
    if dialect is Dialect.CONFIG and "untyped" in metadata:
        return {"x-kubernetes-preserve-unknown-fields": True}
    if _is_open_word(annotation):
        return {"type": "string", "minLength": 1, "maxLength": 1024, "pattern": WORD}
    if get_origin(annotation) in (Union, types.UnionType):  # of two types: Kubernetes has none such
        return {"x-kubernetes-preserve-unknown-fields": True}
    if get_origin(annotation) is Literal:
        return _choice(list(get_args(annotation)), dialect)
    if get_origin(annotation) is tuple:
        return _array(annotation, dialect, metadata)
    if get_origin(annotation) is dict:
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return object_schema(annotation, dialect)
    return _scalar(annotation, dialect, metadata)


def _is_open_word(annotation: Any) -> bool:
    """Return whether the type is an enumeration that other releases may extend: `Reason | str`."""
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else ()
    return len(members) == 2 and members[1] is str and isinstance(members[0], type) and issubclass(members[0], StrEnum)


def _choice(values: list[str], dialect: Dialect) -> Schema:
    """Return a string with its choices. In the configuration a CEL rule lists them (`cel.values`): an `enum` would
    refuse interpolations, and null, which is in no enumeration for the API server (kube-openapi's Enum)."""
    return {"type": "string"} | ({"maxLength": 256} if dialect is Dialect.CONFIG else {"enum": values})


def _array(annotation: Any, dialect: Dialect, metadata: tuple[Any, ...]) -> Schema:
    items = [item for item in get_args(annotation) if item is not Ellipsis]
    schema: Schema = {"type": "array", "items": _type(items[0], dialect), "x-kubernetes-list-type": "atomic"}
    item = items[0]
    if isinstance(item, type) and issubclass(item, BaseModel):
        schema["items"] = {"description": first_paragraph(item), **schema["items"]}
    if Ellipsis not in get_args(annotation):
        schema |= {"minItems": len(items), "maxItems": len(items)}
    return schema | _bounds(metadata, {"max_length": "maxItems", "min_length": "minItems"})


def _scalar(annotation: Any, dialect: Dialect, metadata: tuple[Any, ...]) -> Schema:
    if annotation is bool:
        return {"type": "boolean"}
    if annotation is int:
        if dialect is Dialect.CONFIG:
            return {"x-kubernetes-int-or-string": True}
        return {"type": "integer", "format": "int64"} | _numeric_bounds(metadata)
    if annotation is float and dialect is Dialect.CONFIG:
        return {"x-kubernetes-preserve-unknown-fields": True}
    if annotation is float:
        return {"type": "number"} | _numeric_bounds(metadata)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return {"type": "string", "enum": [member.value for member in annotation]}
    if annotation is str:
        # A bound on every string keeps the cost of CEL rules estimable.
        return {"type": "string", "maxLength": 4096} | _bounds(
            metadata, {"max_length": "maxLength", "min_length": "minLength"}
        )
    return {"type": "string", "format": "date-time"}


def _numeric_bounds(metadata: tuple[Any, ...]) -> Schema:
    bounds: Schema = {}
    for item in metadata:
        if isinstance(item, annotated_types.Ge):
            bounds["minimum"] = item.ge
        elif isinstance(item, annotated_types.Gt):
            bounds |= {"minimum": item.gt, "exclusiveMinimum": True}
        elif isinstance(item, annotated_types.Le):
            bounds["maximum"] = item.le
    return bounds


def _bounds(metadata: tuple[Any, ...], names: Mapping[str, str]) -> Schema:
    bounds: Schema = {}
    for item in metadata:
        for attribute, name in names.items():
            value = getattr(item, attribute, None)
            if isinstance(value, int):
                bounds[name] = value
        pattern = getattr(item, "pattern", None)
        if isinstance(pattern, str):
            bounds["pattern"] = pattern
    return bounds
