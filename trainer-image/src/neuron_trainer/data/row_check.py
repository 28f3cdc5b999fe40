"""What would go wrong with a directory of rows later, found before any process starts."""

import logging
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from neuron_api.findings.finding import Finding
from neuron_trainer.errors import InputError

from .rows import COLUMNS, MASK, Rows, left_padded
from .samples import IGNORED

log = logging.getLogger(__name__)

_READ: Final = 1 << 27
"""Tokens that are looked at, a second or two: all of a small data set, stretches spread over a large one. What is wrong
in between is found when it is read (`bounds`, `Rows.take`)."""
_STRETCH: Final = 64
"""Rows that are looked at together."""


def check(key: str, folder: str, length: int, vocabulary: int, global_batch: int) -> list[Finding]:
    """The first fault."""
    try:
        rows = Rows(folder, key)
        if len(rows) < global_batch:
            raise rows.fault(
                f"{folder} has {len(rows)} rows, fewer than one global batch of {global_batch}.",
                "Use more text, shorter rows or a smaller data.global_batch_size.",
            )
        _check_types(rows)
        _check_shapes(rows)
        _check_values(rows, length, vocabulary)
    except InputError as problem:
        return list(problem.findings)
    return []


def _check_types(rows: Rows) -> None:
    for name in (*COLUMNS, MASK):
        kind = rows.types.get(name)
        if kind is None:
            continue
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        if not is_list or not (pa.types.is_integer(kind.value_type) or pa.types.is_boolean(kind.value_type)):
            raise rows.fault(
                f"the column {name} of {rows.folder} has values of type {kind}.", "Needed are lists of whole numbers."
            )


def _check_shapes(rows: Rows) -> None:
    """Check the lengths of all rows, where they are saved as they are read: offsets only."""
    if rows.table is None:
        return
    lengths = [_lengths(rows, name) for name in (*COLUMNS, MASK) if name in rows.columns]
    first = int(lengths[0][0])
    for name, own in zip((*COLUMNS, MASK), lengths, strict=False):
        if len(wrong := np.flatnonzero(own != first)):
            row = int(wrong[0])
            raise rows.fault(
                f"row {row} of {rows.folder} has {own[row]} values in {name}, not {first} as input_ids of row 0.",
                "All lists of a data set must be equally long.",
            )


def _lengths(rows: Rows, name: str) -> Any:
    """Return the length of each list of a column, int64 [rows]."""
    lengths, before = [], 0
    for chunk in rows.table.column(name).chunks:
        values = chunk.flatten()
        if chunk.null_count or values.null_count:
            row = before + next(i for i, cell in enumerate(chunk) if not cell.is_valid or cell.values.null_count)
            raise rows.fault(f"row {row} of {rows.folder} has a null in {name}.", "Write whole numbers.")
        lengths.append(np.from_dlpack(chunk.value_lengths()).astype(np.int64))
        before += len(chunk)
    return np.concatenate(lengths)


def _check_values(rows: Rows, length: int, vocabulary: int) -> None:
    is_counted = False
    for indices in _stretches(len(rows), length):
        where = f"row {indices.start} of {rows.folder}"
        try:
            arrays = rows.arrays(indices)
        except (TypeError, ValueError) as problem:
            raise rows.fault(f"{where} or one after it is not a list of {length} whole numbers: {problem}.") from None
        ids, labels = arrays["input_ids"], arrays["labels"]
        if ids.shape != labels.shape or ids.shape[1] != length:
            message = f"{where} has {ids.shape[1]} tokens and {labels.shape[1]} labels"
            raise rows.fault(
                f"{message}, model.encoder_seq_length is {length}.",
                f"Prepare the data with --seq-length {length}, or change the key.",
            )
        _check_range(rows, indices, ids, vocabulary, (ids < 0) | (ids >= vocabulary), "token id")
        is_label = (labels == IGNORED) | ((labels >= 0) & (labels < vocabulary))
        _check_range(rows, indices, labels, vocabulary, ~is_label, "label")
        if MASK in arrays:
            _check_mask(rows, indices, arrays)
        is_counted = is_counted or bool((labels[:, 1:] != IGNORED).any())
    if not is_counted:
        raise rows.fault(f"{rows.folder} has no label that counts: all are {IGNORED}.", "Nothing would be learned.")


def _check_range(rows: Rows, indices: range, values: Any, vocabulary: int, wrong: Any, what: str) -> None:
    if wrong.any():
        row, place = (int(axis[0]) for axis in wrong.nonzero())
        value = int(values[row, place])
        remedy = (
            "Use the tokenizer that belongs to the model." if value >= vocabulary else f"Ignored is {IGNORED} alone."
        )
        message = f"row {indices[row]} of {rows.folder} has {what} {value}"
        raise rows.fault(f"{message}, the model's vocab_size is {vocabulary}.", remedy)


def _check_mask(rows: Rows, indices: range, arrays: dict[str, Any]) -> None:
    if (row := left_padded(arrays[MASK])) is not None:
        message, _, remedy = rows.mask_fault(indices[row]).partition(". ")
        raise rows.fault(f"{message}.", remedy)
    counted = ((arrays[MASK] == 0) & (arrays["labels"] != IGNORED)).any(axis=1)
    if counted.any() and not indices.start:
        text = (
            "%s: row %d of %s has labels where attention_mask is 0, and they count. Set them to %d if they should not."
        )
        log.warning(text, rows.key, indices[int(counted.argmax())], rows.folder, IGNORED)


def _stretches(count: int, length: int) -> Iterator[range]:
    """All rows, or as many as are looked at."""
    stretches = max(1, _READ // (_STRETCH * max(1, length)))
    step = max(1, -(-count // (_STRETCH * stretches)))
    starts = range(0, count, _STRETCH)
    return (range(start, min(count, start + _STRETCH)) for start in starts[::step])
