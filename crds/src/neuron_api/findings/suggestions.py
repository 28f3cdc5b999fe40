"""What was probably meant by a name that is not known: "did you mean"."""

import difflib
from collections.abc import Iterable
from typing import Final

_DISTANCE: Final = 2
"""Letters from which a name is taken for a misspelled one."""

_CLOSE: Final = 0.8
"""Similarity from which a longer name is (`tensor_model_paralel_sizes`: 0.96)."""


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


def _edits(name: str) -> int:
    """Short names are near each other by chance: `lr`, `eps`, `mode`."""
    return _DISTANCE if len(name) > 5 else 1


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
