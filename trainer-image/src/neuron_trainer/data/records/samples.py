"""Rows of records by number, read back from disk and padded."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from neuron_trainer.data.samples import IGNORED

from .recipe import Recipe
from .report import Report

PADDING_DOCUMENT = -1
"""Number of the document that padding is."""


class RecordSamples:
    """Rows by number; see `Samples`."""

    labels_are_targets = False

    def __init__(self, arrays: Mapping[str, NDArray[Any]], recipe: Recipe) -> None:
        """`arrays`: those of `packing.to_arrays`, `padding` (the token) and `report`."""
        self._tokens, self._is_label = arrays["tokens"], arrays["is_label"]
        self._record, self._row = arrays["record"], arrays["row"]
        self.recipe, self._padding = recipe, int(arrays["padding"][0])
        self.report = Report.from_array(arrays["report"])

    def __len__(self) -> int:
        return (len(self._row) - 1) // self.recipe.rows_per_sample

    @property
    def counts(self) -> Mapping[str, int]:
        """Return the numbers of records, samples, and of records that were truncated or dropped."""
        return {name: self.report.counts.get(name, 0) for name in ("records", "samples", "truncated", "dropped")}

    def fingerprint(self) -> str:
        """Return a digest of all rows: of the arrays, which are read several times as fast as padded rows."""
        digest = xxhash.xxh3_128(f"{self.recipe.facts()} {self._padding}".encode())
        for array in (self._tokens, self._is_label, self._record, self._row):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def highest(self) -> int:
        """Return the largest token id of all rows, padding included where there is any."""
        is_padded = len(self._tokens) < (len(self._row) - 1) * self.recipe.length
        return max(int(self._tokens.max()), self._padding if is_padded else 0)

    def take(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Return `input_ids` and `labels`, int64 [len(indices), S]; prompts, separators and padding have no label.

        Where packed records are isolated also `position_ids` and `document_ids` of this shape.
        """
        rows = self._padded_rows(indices)
        if self.recipe.packing and self.recipe.isolates:
            rows |= self._documents(indices)
        return {name: torch.from_numpy(values) for name, values in rows.items()}

    def _padded_rows(self, rows: Sequence[int]) -> dict[str, NDArray[np.int64]]:
        ids = np.full((len(rows), self.recipe.length), self._padding, dtype=np.int64)
        labels = np.full_like(ids, IGNORED)
        for place, row in enumerate(rows):
            start, end = (int(self._record[self._row[row + side]]) for side in (0, 1))
            tokens, is_label = self._tokens[start:end], self._is_label[start:end]
            ids[place, : len(tokens)] = tokens
            labels[place, : len(tokens)] = np.where(is_label, tokens, IGNORED)
        return {"input_ids": ids, "labels": labels}

    def _documents(self, rows: Sequence[int]) -> dict[str, NDArray[np.int64]]:
        """Return the number of each token's record in its row, and its position in it; padding is one, too."""
        documents = np.full((len(rows), self.recipe.length), PADDING_DOCUMENT, dtype=np.int64)
        positions = np.empty_like(documents)
        for place, row in enumerate(rows):
            starts = self._record[self._row[row] : self._row[row + 1] + 1]
            sizes = np.diff(starts)
            end = int(sizes.sum())
            documents[place, :end] = np.repeat(np.arange(len(sizes)), sizes)
            sizes = np.append(sizes, self.recipe.length - end)
            positions[place] = np.concatenate([np.arange(size) for size in sizes])
        return {"position_ids": positions, "document_ids": documents}


class PairSamples(RecordSamples):
    """Pairs by number: each sample is the row of the chosen and that of the rejected answer."""

    def take(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Return `input_ids` and `labels`, int64 [len(indices), 2, S]; prompts and padding have no label."""
        rows = self._padded_rows([2 * index + side for index in indices for side in (0, 1)])
        shape = (len(indices), 2, self.recipe.length)
        return {name: torch.from_numpy(values).reshape(shape) for name, values in rows.items()}
