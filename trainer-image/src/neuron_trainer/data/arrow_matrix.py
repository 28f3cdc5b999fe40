"""Columns of equally long lists as matrices over the mapped file: `datasets`' own formatting takes 0.3 ms a batch."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class Matrix:
    """Rows in parts, as the file has them."""

    def __init__(self, parts: Sequence[NDArray[Any]]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *(len(part) for part in parts)]).tolist()

    def take(self, indices: Sequence[int]) -> NDArray[np.int64]:
        """int64 [len(indices), S], a copy."""
        found = np.empty((len(indices), self._parts[0].shape[1]), dtype=np.int64)
        for place, index in enumerate(indices):
            part = bisect_right(self._starts, index) - 1
            found[place] = self._parts[part][index - self._starts[part]]
        return found


def of_columns(table: Any, names: Sequence[str]) -> dict[str, Matrix] | None:
    """Of a pyarrow.Table. None where it is not so simple: lists of different lengths, missing values or columns."""
    if not set(names) <= set(table.column_names):
        return None
    found = {name: _parts(table.column(name)) for name in names}
    lengths = {part.shape[1] for parts in found.values() if parts for part in parts}
    if len(lengths) != 1 or not all(found.values()):
        return None
    return {name: Matrix(parts) for name, parts in found.items() if parts}


def _parts(column: Any) -> list[NDArray[Any]] | None:
    parts = []
    for chunk in column.chunks:
        values = chunk.flatten() if hasattr(chunk, "flatten") else None
        if values is None or chunk.null_count or values.null_count or not len(chunk) or len(values) % len(chunk):
            return None
        length = len(values) // len(chunk)
        # DLPack: pyarrow's to_numpy imports pandas, 0.3 s.
        if not pa.types.is_integer(values.type) or any(np.unique(np.from_dlpack(chunk.value_lengths())) != length):
            return None
        parts.append(np.from_dlpack(values).reshape(len(chunk), length))
    return parts
