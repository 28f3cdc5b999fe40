"""A rule of `spec` beside the configuration: once for the API server, once for a manifest without a server, in the same
words."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from neuron_api.findings.finding import Finding, error

from .rule import Wire

Part = Mapping[str, Any]

_SPEC: Final = "spec"


@dataclass(frozen=True, slots=True)
class SpecRule:
    """What cannot go together."""

    part: str
    """What the rule stands on: `spec`, or a part of it, `spec.scheduling`; it is not asked where the part is absent."""
    field: str
    """Below the part."""
    message: str
    """What is wrong."""
    remedy: str
    refused: str
    """CEL over the part: true when the object is refused."""
    is_refused: Callable[[Part], bool]
    """The same in Python."""

    @property
    def finding(self) -> Finding:
        """Field, fault and remedy."""
        return error(f"{self.part}.{self.field}", self.message, self.remedy)

    def wire(self) -> Wire:
        """As an item of the part's `x-kubernetes-validations`."""
        refused = self.refused.replace("'", '"')  # which YAML need not double
        return {"rule": f"!({refused})", "message": str(self.finding), "fieldPath": f".{self.field}"}


def findings(rules: Iterable[SpecRule], spec: Part) -> Iterator[Finding]:
    """Of a manifest's `spec`; null is absent, as for the API server."""
    return (rule.finding for rule in rules if (part := _part(spec, rule.part)) is not None and rule.is_refused(part))


def value(part: Part, path: str) -> Any:
    """What is at a path; None where it is absent."""
    found: Any = part
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _part(spec: Part, path: str) -> Part | None:
    part = spec if path == _SPEC else value(spec, path.removeprefix(f"{_SPEC}."))
    return part if isinstance(part, Mapping) else None
