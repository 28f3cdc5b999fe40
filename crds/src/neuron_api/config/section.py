"""The base of every section of the configuration, and the scalar types that the document's keys use.

A section's field names are the document's keys, letter by letter. The docstring under a field is its description in
the CRD (`kubectl explain`) and in the reference; a field without one fails a test.
"""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _flag(value: Any) -> Any:
    """Accept the spellings of a boolean that real configurations hold: `0`, `1`, `'0'`, `'1'` (rule R1)."""
    if isinstance(value, str) and value.strip().lower() in ("0", "1", "true", "false"):
        return value.strip().lower() in ("1", "true")
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    return value


def _quantity(value: Any) -> Any:
    """A number, or a fraction written as a string because the API server stores `1.0` as `1` (rule R3)."""
    if isinstance(value, str):
        text = value.strip()
        try:
            return int(text)
        except ValueError:
            return float(text)
    return value


Flag = Annotated[bool, BeforeValidator(_flag)]
"""A boolean that may also be written 0, 1, '0' or '1'."""

LooseFlag = Annotated[bool, BeforeValidator(_flag), "loose"]
"""A Flag that real files write as '0' and '1': the CRD leaves its type open."""

Quantity = Annotated[int | float, BeforeValidator(_quantity), "quantity"]
"""An integer (so many) or a float (such a part); in `spec.config` write a float as a string: "1.0"."""


class Section(BaseModel):
    """A mapping of the configuration: unknown keys are refused, values are never changed after loading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=(), strict=False
    )


class OpenSection(Section):
    """A mapping in which the document allows keys of one's own (`data`, `model`); they are kept and passed on."""

    model_config = ConfigDict(extra="allow")
