"""Names of keys (R5): unknown ones are refused with "did you mean"; in `data` and `model` others are passed on."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel

from .bounds import MAX_UNKNOWN, ExceededError
from .config import TrainingConfig
from .findings import Finding
from .paths import all_paths, fields, is_open, section_of
from .registry import found

_DISTANCE: Final = 2
"""Letters from which a name is taken for a misspelled one."""

_CLOSE: Final = 0.8
"""Similarity from which a longer name is (`tensor_model_paralel_sizes`: 0.96)."""


def unknown(values: Mapping[str, Any], model: type[BaseModel] = TrainingConfig, path: str = "") -> list[Finding]:
    """A finding for each key that no section knows; `ExceededError` when there are more than any configuration has."""
    known = fields(model)
    result: list[Finding] = []
    for key, value in values.items():
        where = f"{path}.{key}" if path else key
        if len(result) > MAX_UNKNOWN:
            raise ExceededError(f"it has more than {MAX_UNKNOWN} keys that the document does not have.")
        if key not in known:
            result.append(_unknown(key, where, list(known), is_open(model)))
        elif isinstance(value, Mapping) and (section := section_of(known[key])):
            result += unknown(value, section, where)
    return result


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    candidates = list(known)
    if exact := misspelled(name, candidates):
        return exact
    return next(iter(difflib.get_close_matches(name, candidates, n=1, cutoff=_CLOSE)), None)


def misspelled(name: str, known: Iterable[str]) -> str | None:
    """The known name that is this one but for upper and lower case, or one or two letters (R5); the nearest."""
    candidates = list(known)
    for one in candidates:
        if one.lower() == name.lower():
            return one
    distances = {one: _distance(name, one, _DISTANCE) for one in candidates}
    near = [one for one in candidates if distances[one] <= _edits(one)]
    return min(near, key=distances.__getitem__, default=None)


def suggestion(path: str) -> str | None:
    """A documented key path near this one."""
    parent, _, name = path.rpartition(".")
    siblings = {one.rpartition(".")[2]: one for one, _ in all_paths() if one.rpartition(".")[0] == parent}
    if near := nearest(name, siblings):
        return siblings[near]
    return _elsewhere(name)


def _edits(name: str) -> int:
    """Short names are near each other by chance: `lr`, `eps`, `mode`."""
    return _DISTANCE if len(name) > 5 else 1


def _unknown(key: str, where: str, known: list[str], allows_more: bool) -> Finding:
    near = nearest(key, known)
    if near and not (allows_more and misspelled(key, known) is None):
        return found(1301, where, "there is no such key.", f"Did you mean {near}?")
    if allows_more:
        return found(
            1303, where, "not a documented key; it is kept and passed on.", f"Did you mean {near}?" if near else ""
        )
    parent = where.rpartition(".")[0] or "the top level"
    if other := _elsewhere(key):
        return found(1302, where, f"{parent} has no such key.", f"Did you mean {other}?")
    return found(1302, where, "there is no such key.", f"{parent} knows: {', '.join(sorted(known))}.")


def _elsewhere(name: str) -> str | None:
    """The same name in another section, where there is exactly one."""
    places = [path for path, _ in all_paths() if path.rpartition(".")[2] == name]
    return places[0] if len(places) == 1 else None


def _distance(a: str, b: str, bound: int) -> int:
    """Edits (insert, delete, replace, swap) from one name to the other; more than `bound` is not told apart."""
    if abs(len(a) - len(b)) > bound or len({*a} ^ {*b}) > 2 * bound:
        return bound + 1  # one edit changes at most two of the letters that there are
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row = row, [i]
        for j, y in enumerate(b, 1):
            cost = min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > bound and min(previous) > bound:
            return bound + 1
        before = previous
    return row[-1]
