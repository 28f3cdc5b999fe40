"""What `datasets.save_to_disk` wrote, mapped without importing datasets: with pandas that takes 0.8 s in each process.

Columns of equally long lists are read as matrices over the mapped file: `datasets`' own formatting takes 0.3 ms a
batch. Only the plain case is read here, the rows as they were saved; for everything else both functions return None,
and the caller uses `datasets`.
"""

import json
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from numpy.typing import NDArray

SPLIT: Final = "train"
"""Of several, the one that is read."""
_VIEW: Final = ("_format_type", "_format_columns", "_indices_data_files", "_indices_files")
"""Keys of its state that change what the rows are."""


class Matrix:
    """Rows of equal length in several parts, as the file has them."""

    def __init__(self, parts: Sequence[NDArray[Any]]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *(len(part) for part in parts)]).tolist()

    def take(self, indices: Sequence[int]) -> NDArray[np.int64]:
        """Return a copy of these rows, int64 [len(indices), S]."""
        rows = np.empty((len(indices), self._parts[0].shape[1]), dtype=np.int64)
        for place, index in enumerate(indices):
            part = bisect_right(self._starts, index) - 1
            rows[place] = self._parts[part][index - self._starts[part]]
        return rows


def table(folder: Path) -> Any:
    """Return the mapped rows, of the split `train` where there are several; a pyarrow.Table.

    Raises:
        OSError, ValueError: a file is missing or has another format.
    """
    place = folder / SPLIT if (folder / "dataset_dict.json").is_file() else folder
    state = place / "state.json"
    if not state.is_file() or not (place / "dataset_info.json").is_file():
        return None
    content = json.loads(state.read_text())
    files = [entry["filename"] for entry in content.get("_data_files", ())]
    if not files:
        raise ValueError("it has no rows")
    if any(content.get(key) for key in _VIEW):
        return None
    return pa.concat_tables([pa.ipc.open_stream(pa.memory_map(str(place / name))).read_all() for name in files])


def matrices(table: Any, names: Sequence[str]) -> dict[str, Matrix] | None:
    """Return columns of a pyarrow.Table as matrices; None for lists of different lengths, missing values or columns."""
    if not set(names) <= set(table.column_names):
        return None
    columns = {name: _parts(table.column(name)) for name in names}
    lengths = {part.shape[1] for parts in columns.values() if parts for part in parts}
    if len(lengths) != 1 or not all(columns.values()):
        return None
    return {name: Matrix(parts) for name, parts in columns.items() if parts}


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
