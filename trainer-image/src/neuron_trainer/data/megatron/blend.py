"""The order in which samples of several data sets follow each other: at each place the one that lags most.

Sample i is of the set with the largest w_j * max(i, 1) - (its samples so far), the first one of equals: the rule of
Megatron, to the last bit. It looks back at all choices before, but what a wrong beginning changes is soon forgotten:
the whole is cut into stretches, all stretches are gone through at once from a guessed beginning, and those whose
beginning was not the end of the one before are done again. The result is exact, whatever was guessed.
"""

from math import ceil, isqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_SURPLUS: Final = 0.005
"""Each set is built this much larger than its share, since the order may run ahead of it."""


def shares(weights: NDArray[np.float64], samples: int) -> list[int]:
    """Samples that each set gives, its share rounded up."""
    return [ceil(samples * float(weight)) for weight in weights]


def sizes(weights: NDArray[np.float64], samples: int) -> list[int]:
    """Samples that each set is asked for."""
    return [ceil(share * (1 + _SURPLUS)) for share in shares(weights, samples)]


def order(weights: NDArray[np.float64], samples: int) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Set and sample in that set, of each place; `weights` add up to 1 and are not 0."""
    chosen = _choose(weights, samples)
    place = np.empty(samples, np.int64)
    for index in range(len(weights)):
        mine = np.flatnonzero(chosen == index)
        place[mine] = np.arange(len(mine))
    return chosen, place


def _choose(weights: NDArray[np.float64], samples: int) -> NDArray[np.int16]:
    stretch = max(64, isqrt(samples) // 2)
    starts = np.arange(0, samples, stretch)
    counts = _guess(weights, starts)
    chosen = np.empty((len(starts), stretch), np.int16)
    ends = np.empty_like(counts)
    wrong = np.arange(len(starts))
    while len(wrong):
        chosen[wrong], ends[wrong] = _go(weights, starts[wrong], counts[wrong], stretch)
        wrong = 1 + np.flatnonzero((ends[:-1] != counts[1:]).any(axis=1))
        counts[wrong] = ends[wrong - 1]
    return chosen.reshape(-1)[:samples]


def _guess(weights: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Samples of each set before each start, int64 [starts, sets]: shares rounded so that they add up."""
    exact = starts[:, None] * weights
    whole = np.floor(exact).astype(np.int64)
    missing = starts - whole.sum(axis=1)
    rank = np.argsort(np.argsort(whole - exact, axis=1, kind="stable"), axis=1)
    guessed: NDArray[np.int64] = whole + (rank < missing[:, None])
    return guessed


def _go(
    weights: NDArray[np.float64], starts: NDArray[np.int64], counts: NDArray[np.int64], steps: int
) -> tuple[NDArray[np.int16], NDArray[Any]]:
    """Each row goes its own way for so many steps; returns choices [rows, steps] and the counts after them."""
    counts, rows = counts.astype(np.float64), np.arange(len(starts))
    chosen = np.empty((steps, len(starts)), np.int16)
    for step in range(steps):
        place = np.maximum(starts + step, 1).astype(np.float64)
        chosen[step] = best = np.argmax(weights * place[:, None] - counts, axis=1)
        counts[rows, best] += 1.0
    return chosen.T, counts.astype(np.int64)
