"""Suggestions for unknown names: "did you mean"."""

import difflib
from collections.abc import Iterable
from typing import Final

_DISTANCE: Final = 2
"""Edits up to which a name counts as misspelled."""

_CLOSE: Final = 0.8
"""Similarity from which a longer name counts as misspelled (`tensor_model_paralel_sizes`: 0.96)."""


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the valid name that was probably meant, if any."""
    candidates = list(names)
    if exact := misspelled(name, candidates):
        return exact
    return next(iter(difflib.get_close_matches(name, candidates, n=1, cutoff=_CLOSE)), None)


def misspelled(name: str, names: Iterable[str]) -> str | None:
    """Return the nearest valid name that differs only in case or in one or two letters (R5)."""
    candidates = list(names)
    for candidate in candidates:
        if candidate.lower() == name.lower():
            return candidate
    distances = {candidate: _distance(name, candidate, _DISTANCE) for candidate in candidates}
    near = [candidate for candidate in candidates if distances[candidate] <= _edits(candidate)]
    return min(near, key=distances.__getitem__, default=None)


def _edits(name: str) -> int:
    """Return the allowed edits; short names are near each other by chance: `lr`, `eps`, `mode`."""
    return _DISTANCE if len(name) > 5 else 1


def _distance(a: str, b: str, bound: int) -> int:
    """Return the edits (insert, delete, replace, swap) between two names, or some number above `bound`."""
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
