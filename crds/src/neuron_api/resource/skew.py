"""Objects of another release: parts that a schema does not take are removed, the rest stays as it is."""

import re
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, Final

Path = tuple[str | int, ...]

_STEP: Final = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def path(field: str) -> Path:
    """The steps of a field as the API server names it: `status.restarts[2].cause`."""
    return tuple(int(index) if index else key for index, key in _STEP.findall(field))


def without(value: dict[str, Any], paths: Iterable[Sequence[str | int]]) -> dict[str, Any]:
    """A copy without these parts; where a part is missing, without the object that lacks it."""
    copy = deepcopy(value)
    for steps in sorted({_existing(value, one) for one in paths}, key=_from_the_end, reverse=True):
        if steps:
            _remove(copy, steps)
    return copy


def _existing(value: Any, steps: Sequence[str | int]) -> Path:
    """As many steps as lead to something."""
    for number, step in enumerate(steps):
        is_there = step in value if isinstance(value, dict) else isinstance(value, list) and _is_index(value, step)
        if not is_there:
            return tuple(steps[:number])
        value = value[step]
    return tuple(steps)


def _is_index(value: Sequence[Any], step: str | int) -> bool:
    return isinstance(step, int) and step < len(value)


def _from_the_end(steps: Path) -> list[tuple[bool, int, str]]:
    """Later elements of a list first, so that the places of the others stay."""
    return [(isinstance(one, int), one if isinstance(one, int) else 0, str(one)) for one in steps]


def _remove(value: Any, steps: Path) -> None:
    for step in steps[:-1]:
        value = value[step]
    del value[steps[-1]]
