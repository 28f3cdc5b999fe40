"""The object form of a configuration (`spec.config`): plain JSON within the bounds of the text form."""

from collections.abc import Mapping
from typing import Any

from .findings import Finding
from .registry import found
from .yaml_text import MAX_DEPTH, MAX_NODES, MAX_SCALAR


class _RefusedError(Exception):
    def __init__(self, finding: Finding) -> None:
        super().__init__()
        self.finding = finding


def plain(values: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """A copy of dicts, lists and scalars; or why it is none."""
    copier = _Copier()
    try:
        copied: dict[str, Any] = copier.copy(values, "", 0)
    except _RefusedError as problem:
        return {}, (problem.finding,)
    return copied, tuple(copier.findings)


class _Copier:
    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.nodes = 0

    def copy(self, value: Any, path: str, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            what = f"more than {MAX_NODES} values" if depth <= MAX_DEPTH else f"nested more than {MAX_DEPTH} deep"
            raise _RefusedError(found(1002, "", f"not a configuration: {what}."))
        if isinstance(value, Mapping):
            below = f"{path}." if path else ""
            return {str(key): self.copy(item, f"{below}{key}", depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.copy(item, f"{path}.{index}", depth + 1) for index, item in enumerate(value)]
        return self._scalar(value, path)

    def _scalar(self, value: Any, path: str) -> Any:
        if isinstance(value, str):
            if len(value) > MAX_SCALAR:
                raise _RefusedError(found(1002, path, f"a value of {len(value)} characters."))
            return value
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            if abs(value) < 2**63:
                return value
            self.findings.append(found(1005, path, "the value is not a usable number."))
            return None
        self.findings.append(found(1402, path, f"a value of type {type(value).__name__} is not a legal value."))
        return None
