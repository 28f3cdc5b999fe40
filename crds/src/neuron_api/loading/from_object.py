"""The object form of a configuration (`spec.config`): plain JSON within the bounds of the text form."""

from collections.abc import Mapping
from typing import Any

from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding

from .limits import MAX_DEPTH, ExceededError, ReadingBudget


def copy_plain(values: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """Return a copy of dicts, lists and scalars, and findings about values that JSON does not have."""
    copier = _Copier()
    if not isinstance(values, Mapping):
        return {}, (make_finding(1001, "", "not a configuration: it is not a mapping of keys."),)
    try:
        copied: dict[str, Any] = copier.copy(values, "", 0)
    except ExceededError as problem:
        return {}, (make_finding(1002, "", f"not a configuration: {problem}"),)
    return copied, tuple(copier.findings)


class _Copier:
    """Copies one object and collects its findings."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.budget = ReadingBudget()

    def copy(self, value: Any, path: str, depth: int) -> Any:
        self.budget.spend(value, path)
        if depth > MAX_DEPTH:
            raise ExceededError(f"mappings are nested more than {MAX_DEPTH} deep.")
        if isinstance(value, Mapping):
            prefix = f"{path}." if path else ""
            return {str(key): self.copy(item, f"{prefix}{key}", depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.copy(item, f"{path}.{index}", depth + 1) for index, item in enumerate(value)]
        return self._scalar(value, path)

    def _scalar(self, value: Any, path: str) -> Any:
        if isinstance(value, str):
            if value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value):
                return value
            self.findings.append(
                make_finding(1402, path, "the text holds half of a UTF-16 pair, which is no character.")
            )
            return None
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            if abs(value) < 2**63:
                return value
            self.findings.append(make_finding(1005, path, "the value is not a usable number."))
            return None
        self.findings.append(make_finding(1402, path, f"must be a JSON value, got {type(value).__name__}."))
        return None
