"""A rule of the CRD: the condition under which the API server refuses an object, and a message from the table of codes.

Messages are fixed texts: the API server estimates a `messageExpression` over int-or-string values at more than 100
times its budget (Kubernetes 1.34). The same finding with numbers comes from `kubectl neuron plan` and the operator.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from neuron_api.findings.registry import ENTRIES, make_finding

Validation = dict[str, str]
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
    refuse_if: str
    """CEL: true when the object is refused."""
    expected: str = ""
    """What would be legal, in place of the table's cause if one code is about many keys."""
    remedy: str = ""
    """In place of the table's."""
    reason: RuleReason = RuleReason.INVALID

    @property
    def message(self) -> str:
        """Return key, cause, remedy and code as one text."""
        cause = f"{self.expected}." if self.expected else ENTRIES[f"NTJ-{self.number}"].cause
        return str(make_finding(self.number, self.key, cause, self.remedy or None))

    def in_section(self, place: str, refuse_if: str) -> Validation:
        """Return the rule of a section, with the condition relative to it; an empty place is the whole
        configuration."""
        return self._validation(f".{self.key}".removeprefix(f".{place}") if place else f".{self.key}", refuse_if)

    def in_spec(self) -> Validation:
        """Return the rule of `spec`."""
        path = self.key.removeprefix(_SPEC) if self.key.startswith(f"{_SPEC}.") else f".config.{self.key}"
        return self._validation(path, self.refuse_if)

    def on_key(self) -> Validation:
        """Return the rule of the key itself."""
        return self._validation("", self.refuse_if)

    def _validation(self, path: str, refuse_if: str) -> Validation:
        condition = refuse_if.replace("'", '"')  # which YAML need not double
        validation = {"rule": f"!({condition})", "message": self.message}
        if path:
            validation["fieldPath"] = path
        if self.reason is not RuleReason.INVALID:
            validation["reason"] = self.reason.value
        return validation
