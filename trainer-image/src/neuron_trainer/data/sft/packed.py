"""Pieces as rows of at most `length` tokens: one of each record, or several joined; and the rows back from disk."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuron_trainer.data.samples import IGNORED

from .pieces import Special, TokenizedRecord


class PackedRows(NamedTuple):
    """How many records became how many rows."""

    arrays: Mapping[str, NDArray[Any]]
    """`tokens` of all pieces; `piece`: where each begins; `asked`: its tokens without label; `row`: its first piece."""
    cut: int
    """Records whose end was cut off."""
    left_out: int
    """Records that do not fit, or of which no label would be left."""


def one_per_row(pieces: Iterable[TokenizedRecord], length: int) -> PackedRows:
    """A row of each record, cut from the right; one that has no label then is left out."""
    kept, cut, left_out = [], 0, 0
    for piece in pieces:
        if piece.asked >= length:
            left_out += 1
            continue
        cut += len(piece.ids) > length
        kept.append([TokenizedRecord(piece.ids[:length], piece.asked)])
    return PackedRows(_arrays(kept), cut, left_out)


def joined(pieces: Iterable[TokenizedRecord], length: int, special: Special) -> PackedRows:
    """In order, as many as fit, a separator behind each (EOS without a label); one that does not fit is left out."""
    rows: list[list[TokenizedRecord]] = []
    filled, left_out = length, 0
    for piece in pieces:
        size = len(piece.ids) + 1
        if size > length:
            left_out += 1
            continue
        if filled + size > length:
            rows.append([])
            filled = 0
        rows[-1] += [piece, TokenizedRecord([special.end], 1)]
        filled += size
    return PackedRows(_arrays(rows), 0, left_out)


def _arrays(rows: Sequence[Sequence[TokenizedRecord]]) -> Mapping[str, NDArray[Any]]:
    pieces = [piece for row in rows for piece in row]
    return {
        "tokens": np.fromiter(_ids(pieces), np.int32),
        "piece": np.cumsum([0, *(len(piece.ids) for piece in pieces)], dtype=np.int64),
        "asked": np.array([piece.asked for piece in pieces], dtype=np.int32),
        "row": np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64),
    }


def _ids(pieces: Sequence[TokenizedRecord]) -> Iterator[int]:
    return (token for piece in pieces for token in piece.ids)


class SftSamples:
    """Rows by number, padded; see `Samples`."""

    labels_are_targets = False

    def __init__(self, arrays: Mapping[str, NDArray[Any]], length: int) -> None:
        """`arrays`: of `Rows`, `padding`, the token, and `note`, UTF-8."""
        self._tokens, self._piece, self._asked, self._row = (arrays[n] for n in ("tokens", "piece", "asked", "row"))
        self._length, self._padding = length, int(arrays["padding"][0])
        self.note = arrays["note"].tobytes().decode().strip()
        """What a user must know about how the file was read; empty: nothing."""

    def __len__(self) -> int:
        return len(self._row) - 1

    def highest(self) -> int:
        """The largest token id."""
        return int(self._tokens.max())

    def take(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """`input_ids` and `labels`, int64 [len(indices), S]; what is asked, separators and padding have no label."""
        ids = np.full((len(indices), self._length), self._padding, dtype=np.int64)
        labels = np.full_like(ids, IGNORED)
        for place, index in enumerate(indices):
            first, last = int(self._row[index]), int(self._row[index + 1])
            origin = int(self._piece[first])
            tokens = self._tokens[origin : int(self._piece[last])]
            ids[place, : len(tokens)] = tokens
            for piece in range(first, last):
                start, end = int(self._piece[piece]) - origin, int(self._piece[piece + 1]) - origin
                answer = slice(start + int(self._asked[piece]), end)
                labels[place, answer] = tokens[answer]
        return {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}
