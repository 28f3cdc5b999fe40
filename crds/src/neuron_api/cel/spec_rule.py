"""A rule of `spec` outside the configuration: for the API server, and for a manifest without a server, with one
message."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from neuron_api.findings.finding import Finding, error

from .rule import Validation

Part = Mapping[str, Any]

_SPEC: Final = "spec"


@dataclass(frozen=True, slots=True)
class SpecRule:
    """A combination of fields that is refused."""

    part: str
    """`spec`, or a part of it such as `spec.scheduling`; the rule is skipped if the part is absent."""
    field: str
    """Below the part."""
    message: str
    """What is wrong."""
    remedy: str
    refuse_if: str
    """CEL over the part: true when the object is refused."""
    is_refused: Callable[[Part], bool]
    """The same in Python."""

    @property
    def finding(self) -> Finding:
        """Return field, fault and remedy as a finding."""
        return error(f"{self.part}.{self.field}", self.message, self.remedy)

    def validation(self) -> Validation:
        """Return the rule as an item of the part's `x-kubernetes-validations`."""
        condition = self.refuse_if.replace("'", '"')  # which YAML need not double
        return {"rule": f"!({condition})", "message": str(self.finding), "fieldPath": f".{self.field}"}


def findings(rules: Iterable[SpecRule], spec: Part) -> Iterator[Finding]:
    """Return the findings about a manifest's `spec`; null is absent, as for the API server."""
    return (rule.finding for rule in rules if (part := _part(spec, rule.part)) is not None and rule.is_refused(part))


def value(part: Part, path: str) -> Any:
    """Return the value at a path; None if it is absent."""
    node: Any = part
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _part(spec: Part, path: str) -> Part | None:
    part = spec if path == _SPEC else value(spec, path.removeprefix(f"{_SPEC}."))
    return part if isinstance(part, Mapping) else None
