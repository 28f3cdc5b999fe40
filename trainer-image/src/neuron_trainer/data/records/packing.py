"""Tokenised records as rows of at most `length` tokens: one of each record, several joined, or two of each pair."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .answers import SplitRow, truncate
from .recipe import Recipe
from .report import Report
from .tokens import TokenizedRow

PlacedRow = tuple[str, TokenizedRow]
"""With the place of its record."""


def one_per_row(records: Iterable[PlacedRow], length: int, report: Report) -> Mapping[str, NDArray[Any]]:
    """Return a row of each record, cut from the right; one that has no target then is dropped."""
    rows = []
    for place, record in records:
        row = record.first(length)
        if not row.has_target():
            report.add("dropped", place)
            continue
        if len(record.ids) > length:
            report.add("truncated", place)
        rows.append([row])
    return to_arrays(rows)


def packed(records: Iterable[PlacedRow], length: int, separator: int, report: Report) -> Mapping[str, NDArray[Any]]:
    """Return rows of as many records as fit, in order; one that fits into no row is dropped.

    Behind each record is a separator without a label, which belongs to that record.
    """
    rows: list[list[TokenizedRow]] = []
    filled = length
    for place, record in records:
        size = len(record.ids) + 1
        if size > length or not record.has_target():
            report.add("dropped", place)
            continue
        if filled + size > length:
            rows.append([])
            filled = 0
        rows[-1].append(TokenizedRow(np.append(record.ids, np.int32(separator)), np.append(record.is_label, False)))
        filled += size
    return to_arrays(rows)


def pairs(
    pairs: Iterable[tuple[str, tuple[SplitRow, SplitRow]]], recipe: Recipe, report: Report
) -> Mapping[str, NDArray[Any]]:
    """Return two rows of each pair, the chosen answer's first; a pair of which one has no target is dropped."""
    rows = []
    for place, pair in pairs:
        cut = truncate(*pair, recipe)
        chosen, rejected = (row.to_row() for row in cut)
        if not (chosen.has_target() and rejected.has_target()):
            report.add("dropped", place)
            continue
        if cut != pair:
            report.add("truncated", place)
        if np.array_equal(chosen.ids, rejected.ids):
            report.add("identical_pairs", place)
        rows += [[chosen], [rejected]]
    return to_arrays(rows)


def to_arrays(rows: Sequence[Sequence[TokenizedRow]]) -> Mapping[str, NDArray[Any]]:
    """Return `tokens` of all records and `is_label` of each, `record`: where each begins, `row`: its first record."""
    records = [record for row in rows for record in row]
    return {
        "tokens": np.concatenate([np.empty(0, np.int32), *(record.ids for record in records)]),
        "is_label": np.concatenate([np.empty(0, np.bool_), *(record.is_label for record in records)]),
        "record": np.cumsum([0, *(len(record.ids) for record in records)], dtype=np.int64),
        "row": np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64),
    }
