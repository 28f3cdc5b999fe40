"""The base of every section of the configuration, and the scalar types that the document's keys use.

A section's field names are the document's keys, letter by letter. The docstring under a field is its description in the
CRD (`kubectl explain`) and in the reference; a field without one fails a test. Markers in a field's metadata:
`"quantity"` (R3), `"untyped"` (the CRD leaves its type open) and `"conditional"` (required unless another key is set,
so that a rule of the CRD asks for it).
"""

from functools import cache
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _flag(value: Any) -> Any:
    """Accept the spellings of a boolean that real configurations hold: `0`, `1`, `'0'`, `'1'` (rule R1)."""
    if isinstance(value, str) and value.strip().lower() in ("0", "1", "true", "false"):
        return value.strip().lower() in ("1", "true")
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    return value


def _number(value: Any) -> Any:
    """Refuse a boolean, which Python counts as a number."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not a boolean")
    return value


def _quantity(value: Any) -> Any:
    """Accept a number, or a fraction written as a string because the API server stores `1.0` as `1` (rule R3).

    0.0 is read as 0, so that the object form has the hash of the text.
    """
    value = _number(value)
    if isinstance(value, str):
        text = value.strip()
        try:
            value = float(text) if any(character in text for character in ".eE") else int(text)
        except ValueError:
            raise ValueError("must be a number") from None
    return 0 if value == 0 else value


def _replica_count(value: Any) -> Any:
    """Read a boolean as one copy, since the document calls kv_replicator a boolean."""
    return 1 if isinstance(value, bool) else value


Flag = Annotated[bool, BeforeValidator(_flag)]
"""A boolean that may also be written 0, 1, '0' or '1'."""

UntypedFlag = Annotated[bool, BeforeValidator(_flag), "untyped"]
"""A Flag that real files write as '0' and '1': untyped in the CRD."""

Count = Annotated[int, BeforeValidator(_number)]
"""A whole number."""

Number = Annotated[float, BeforeValidator(_number)]
"""A number, with or without a fraction."""

ReplicaCount = Annotated[int, BeforeValidator(_replica_count)]
"""A whole number; True and False mean 1."""

Share = Annotated[float, BeforeValidator(_number), Field(ge=0, lt=1)]
"""A probability below 1."""

Quantity = Annotated[int | float, BeforeValidator(_quantity), "quantity"]
"""An integer (so many) or a float (such a part); in `spec.config` write a float as a string: "1.0"."""

AnyValue = Annotated[Any, "untyped"]
"""A value whose form another library defines (Lightning, NeMo)."""


class Section(BaseModel):
    """A mapping of the configuration: unknown keys are refused, values are never changed after loading.

    An explicit null equals an absent key (R6), except for fields whose type allows null.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, values: Any) -> Any:
        """Drop nulls where null has no meaning of its own."""
        if not isinstance(values, dict):
            return values
        nullable = nullable_keys(cls)
        return {key: value for key, value in values.items() if value is not None or key in nullable}


class OpenSection(Section):
    """A mapping in which the document allows keys of one's own (`data`, `model`); they are kept and passed on."""

    model_config = ConfigDict(extra="allow")


@cache
def nullable_keys(model: type[BaseModel]) -> frozenset[str]:
    """Return the keys of a section whose type allows null."""
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    return frozenset(key for key, info in fields.items() if type(None) in get_args(info.annotation))
