"""A rule of the CRD: when the API server refuses, and its words, which are those of the table of codes.

Messages are fixed texts: the API server estimates a `messageExpression` over int-or-string values at more than 100
times its budget (Kubernetes 1.34). The same finding with numbers comes from `kubectl neuron plan` and the operator.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from neuron_api.findings.registry import ENTRIES, make_finding

Wire = dict[str, str]
"""An item of `x-kubernetes-validations`."""

_SPEC: Final = "spec"


class RuleReason(StrEnum):
    """How the API server introduces the message."""

    INVALID = "FieldValueInvalid"
    """Its default."""
    REQUIRED = "FieldValueRequired"
    """Something is missing."""
    FORBIDDEN = "FieldValueForbidden"
    """Something must not be there."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One code at one key."""

    number: int
    """1402 of NTJ-1402."""
    key: str
    """`trainer.devices`; with `spec.` in front when it is not of the configuration."""
    refused: str
    """CEL: true when the object is refused."""
    expected: str = ""
    """What would be legal, in place of the table's cause, where one code is about many keys."""
    remedy: str = ""
    """In place of the table's."""
    reason: RuleReason = RuleReason.INVALID

    @property
    def message(self) -> str:
        """Key, cause, remedy and code."""
        cause = f"{self.expected}." if self.expected else ENTRIES[f"NTJ-{self.number}"].cause
        return str(make_finding(self.number, self.key, cause, self.remedy or None))

    def at(self, place: str, refused: str) -> Wire:
        """As a rule of a part of the configuration, in that part's words; an empty place is the configuration."""
        return self._wire(f".{self.key}".removeprefix(f".{place}") if place else f".{self.key}", refused)

    def of_spec(self) -> Wire:
        """As a rule of `spec`."""
        path = self.key.removeprefix(_SPEC) if self.key.startswith(f"{_SPEC}.") else f".config.{self.key}"
        return self._wire(path, self.refused)

    def of_value(self) -> Wire:
        """As a rule of the key itself."""
        return self._wire("", self.refused)

    def _wire(self, path: str, refused: str) -> Wire:
        refused = refused.replace("'", '"')  # which YAML need not double
        wire = {"rule": f"!({refused})", "message": self.message}
        if path:
            wire["fieldPath"] = path
        if self.reason is not RuleReason.INVALID:
            wire["reason"] = self.reason.value
        return wire
