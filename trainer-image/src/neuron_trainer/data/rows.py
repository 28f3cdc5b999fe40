"""The HF data module's rows: a directory of `datasets.save_to_disk` with three columns of equally long lists."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from neuron_api.findings import Finding, error

from . import matrices, saved

COLUMNS: Final = ("input_ids", "attention_mask", "labels")
_USED: Final = ("input_ids", "labels")
_LOOKED_AT: Final = 64
"""Rows that the preflight looks at, spread over the data set: reading all of 100 GB would take minutes."""


class Rows:
    """Random access to samples, memory-mapped; see `Samples`."""

    labels_are_targets = False

    def __init__(self, folder: str) -> None:
        place = Path(folder).expanduser()
        table = saved.table(place)
        self._matrices = None if table is None else matrices.of_columns(table, _USED)
        if self._matrices is not None:
            self.columns, self._count = tuple(table.column_names), int(table.num_rows)
            return
        import datasets  # 0.8 s (pandas)

        loaded = datasets.load_from_disk(str(place))
        rows: Any = loaded["train"] if isinstance(loaded, datasets.DatasetDict) else loaded
        self.columns, self._count = tuple(rows.column_names), len(rows)
        self._formatted = rows.with_format("numpy", columns=[c for c in _USED if c in self.columns])

    def __len__(self) -> int:
        return self._count

    def take(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """`input_ids` and `labels`, int64 [len(indices), S]."""
        if self._matrices is not None:
            return {name: torch.from_numpy(self._matrices[name].take(indices)) for name in _USED}
        picked = self._formatted[indices]
        return {name: torch.from_numpy(np.ascontiguousarray(picked[name], dtype=np.int64)) for name in _USED}


def check(key: str, folder: str, length: int, vocabulary: int, global_batch: int) -> list[Finding]:
    """What would go wrong with this directory later, found before any process starts."""
    if not Path(folder).expanduser().is_dir():
        return [error(key, f"there is no directory {folder}.", "Write it with `neuron-train data prepare`.")]
    try:
        rows = Rows(folder)
    except (OSError, ValueError) as problem:
        return [error(key, f"{folder} is not a data set: {problem}", "Write it with `neuron-train data prepare`.")]
    if missing := [c for c in COLUMNS if c not in rows.columns]:
        return [error(key, f"{folder} has no column {', '.join(missing)}.", f"Needed are {', '.join(COLUMNS)}.")]
    if len(rows) < global_batch:
        return [error(key, f"{folder} has {len(rows)} rows, fewer than one global batch of {global_batch}.",
                      "Use more text, shorter rows or a smaller data.global_batch_size.")]  # fmt: skip
    return _check_rows(key, folder, rows, length, vocabulary)


def _check_rows(key: str, folder: str, rows: Rows, length: int, vocabulary: int) -> list[Finding]:
    for index in range(0, len(rows), max(1, len(rows) // _LOOKED_AT)):
        where = f"row {index} of {folder}"
        try:
            row = rows.take(range(index, index + 1))["input_ids"][0]
        except (TypeError, ValueError) as problem:
            return [error(key, f"{where} is not a list of numbers: {problem}.")]
        if row.shape[0] != length:
            return [error(key, f"{where} has {row.shape[0]} tokens, model.encoder_seq_length is {length}.",
                          f"Prepare the data with --seq-length {length}, or change the key.")]  # fmt: skip
        if (highest := int(row.max())) >= vocabulary:
            return [error(key, f"{where} has token id {highest}, the model's vocab_size is {vocabulary}.",
                          "Use the tokenizer that belongs to the model.")]  # fmt: skip
    return []
