"""Samples as rows of tokens: of one prefix (`WindowSet`), or of several in the order of a blend (`BlendSet`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from .indexed import IndexedTokens
from .indices import Indices

PADDING: Final = -1
"""Fills a window that is not full; no token id."""


class TokenSet(Protocol):
    """Random access to samples."""

    @property
    def has_padding(self) -> bool:
        """Return whether a window may not be full."""
        ...

    def __len__(self) -> int: ...

    def windows(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens int64 [len(samples), S + extra], `PADDING` where there are none."""
        ...


@dataclass(frozen=True, slots=True)
class WindowSet:
    """Windows of the documents of one prefix."""

    tokens: IndexedTokens
    indices: Indices
    width: int
    """Tokens of a window, S + extra."""
    extra: int
    has_padding: bool = False

    def __len__(self) -> int:
        return len(self.indices.shuffle)

    def windows(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `TokenSet`."""
        picked = self.indices.shuffle[samples]
        begins, ends, counts = self._pieces(self.indices.sample[picked], self.indices.sample[picked + 1])
        bounds = zip(begins.tolist(), ends.tolist(), strict=True)
        pieces: list[NDArray[Any]] = [self.tokens.tokens[begin:end] for begin, end in bounds]
        windows = np.empty(len(samples) * self.width, np.int64)
        if self.has_padding:
            pieces = self._filled(pieces, counts)
        np.concatenate(pieces, out=windows)
        return windows.reshape(len(samples), self.width)

    def _pieces(
        self, first: NDArray[Any], last: NDArray[Any]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
        """Return where in the file each document's part begins and ends, all windows one after the other; parts per
        window."""
        counts = last[:, 0] - first[:, 0] + 1
        stops = counts.cumsum()
        heads, tails = stops - counts, stops - 1
        position = np.repeat(first[:, 0] - heads, counts)
        position += np.arange(len(position))
        documents = self.indices.document[position]
        begins = self.tokens.starts(documents)
        ends = begins + self.tokens.lengths[documents]
        ends[tails] = begins[tails] + last[:, 1] + self.extra
        begins[heads] += first[:, 1]
        return begins, ends, counts

    def _filled(self, pieces: list[NDArray[Any]], counts: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the pieces with padding after each window that is not full."""
        filled, done = [], 0
        for count in counts.tolist():
            mine = pieces[done : done + count]
            done += count
            missing = self.width - sum(map(len, mine))
            filled += [*mine, np.full(missing, PADDING, np.int64)]
        return filled


@dataclass(frozen=True, slots=True)
class BlendSet:
    """Sample i is sample `place[i]` of set `chosen[i]`."""

    sets: Sequence[TokenSet]
    chosen: NDArray[Any]
    place: NDArray[Any]

    @property
    def has_padding(self) -> bool:
        """See `TokenSet`."""
        return any(tokens.has_padding for tokens in self.sets)

    def __len__(self) -> int:
        return len(self.chosen)

    def windows(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `TokenSet`."""
        chosen, place = self.chosen[samples], self.place[samples]
        windows: NDArray[np.int64] | None = None
        for index in np.unique(chosen).tolist():
            mine = np.flatnonzero(chosen == index)
            tokens = self.sets[index]
            # A set is built 0.5 % larger than its share; where that is not enough it begins again.
            rows = tokens.windows(place[mine] % len(tokens))
            if windows is None:
                windows = np.empty((len(samples), rows.shape[1]), np.int64)
            windows[mine] = rows
        assert windows is not None, "no sample was asked for"
        return windows
