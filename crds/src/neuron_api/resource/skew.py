"""Version skew: remove the parts of an object that this release's schema does not accept."""

import re
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, Final

Path = tuple[str | int, ...]

_STEP: Final = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def parse_path(field: str) -> Path:
    """Return the path of a field as the API server names it: `status.restarts[2].cause`."""
    return tuple(int(index) if index else key for index, key in _STEP.findall(field))


def drop_parts(value: dict[str, Any], paths: Iterable[Sequence[str | int]]) -> dict[str, Any]:
    """Return a copy without these parts; if a part is missing, without the object that lacks it."""
    copy = deepcopy(value)
    for steps in sorted({_existing_path(value, path) for path in paths}, key=_removal_order, reverse=True):
        if steps:
            _remove(copy, steps)
    return copy


def _existing_path(value: Any, steps: Sequence[str | int]) -> Path:
    """Return the path as far as it exists."""
    for number, step in enumerate(steps):
        exists = step in value if isinstance(value, dict) else isinstance(value, list) and _is_index(value, step)
        if not exists:
            return tuple(steps[:number])
        value = value[step]
    return tuple(steps)


def _is_index(value: Sequence[Any], step: str | int) -> bool:
    return isinstance(step, int) and step < len(value)


def _removal_order(steps: Path) -> list[tuple[bool, int, str]]:
    """Return the sort key: later elements of a list come first, so that the indices of the others stay."""
    return [(isinstance(step, int), step if isinstance(step, int) else 0, str(step)) for step in steps]


def _remove(value: Any, steps: Path) -> None:
    for step in steps[:-1]:
        value = value[step]
    del value[steps[-1]]
