"""The HF data module's rows: a directory of `datasets.save_to_disk` with columns of equally long lists."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from neuron_api.findings.finding import error
from neuron_trainer.errors import InputError, TokenError

from .formats import datasets_format

COLUMNS: Final = ("input_ids", "labels")
MASK: Final = "attention_mask"
"""May be left out: it is all ones."""


class Rows:
    """Random access to samples, memory-mapped; see `Samples`."""

    labels_are_targets = False

    def __init__(self, folder: str, key: str = "data.train_dir") -> None:
        """`key`: where the directory is configured. Raises `InputError` when it holds no such rows."""
        self.key, self.folder = key, folder
        try:
            self._open(Path(folder).expanduser())
        except InputError:
            raise
        except Exception as problem:  # `datasets` raises whatever a damaged file leads it to
            detail = str(problem).splitlines()[0][:200] if str(problem) else type(problem).__name__
            raise self.fault(f"{folder} is not a data set: {detail.rstrip('.')}.") from None

    def _open(self, place: Path) -> None:
        if not place.is_dir():
            raise self.fault(f"there is no directory {self.folder}.")
        self.table = datasets_format.table(place)
        self._formatted: Any = None
        self._matrices = None
        if self.table is None:
            self._formatted = self._view(place)
            self.columns, self._count = tuple(self._formatted.column_names), len(self._formatted)
            self.types = {name: self._formatted.data.schema.field(name).type for name in self.columns}
        else:
            self.columns, self._count = tuple(self.table.column_names), int(self.table.num_rows)
            self.types = {name: self.table.schema.field(name).type for name in self.columns}
        if missing := [name for name in COLUMNS if name not in self.columns]:
            names = ", ".join(self.columns) or "none"
            message = f"{self.folder} has no column {', '.join(missing)}; its columns: {names}."
            raise self.fault(message, f"Needed are {', '.join(COLUMNS)}.")
        self._used = [name for name in (*COLUMNS, MASK) if name in self.columns]
        if self.table is not None:
            self.table.select(self._used).validate(full=True)  # offsets in a damaged file may point anywhere
            self._matrices = datasets_format.matrices(self.table, self._used)
            if self._matrices is None and self._count:
                self._formatted = self._view(place)
        if self._formatted is not None:
            self._formatted = self._formatted.with_format("numpy", columns=self._used)

    def _view(self, place: Path) -> Any:
        import datasets  # 0.8 s (pandas)

        loaded = datasets.load_from_disk(str(place))
        if not isinstance(loaded, datasets.DatasetDict):
            return loaded
        if datasets_format.SPLIT not in loaded:
            splits = ", ".join(loaded) or "none"
            raise self.fault(
                f"{self.folder} has no split {datasets_format.SPLIT!r}, only {splits}.",
                "Name the directory of the split that is meant.",
            )
        return loaded[datasets_format.SPLIT]

    def __len__(self) -> int:
        return self._count

    def take(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """`input_ids` and `labels`, int64 [len(indices), S]. Raises `TokenError` for padding before tokens."""
        arrays = self.arrays(indices)
        if MASK in arrays and (bad := left_padded(arrays[MASK])) is not None:
            raise TokenError(f"{self.key}: {self.mask_fault(indices[bad])}")
        return {name: torch.from_numpy(arrays[name]) for name in COLUMNS}

    def arrays(self, indices: Sequence[int]) -> dict[str, Any]:
        """All columns that are read, int64 [len(indices), S]; raises `ValueError` or `TypeError` where they are not
        such."""
        if self._matrices is not None:
            return {name: self._matrices[name].take(indices) for name in self._used}
        picked = self._formatted[indices]
        return {name: np.ascontiguousarray(picked[name], dtype=np.int64) for name in self._used}

    def mask_fault(self, index: int) -> str:
        """A row whose mask cannot be obeyed."""
        return (
            f"row {index} of {self.folder} has padding before its tokens: attention_mask is not all ones followed by "
            "zeros. Pad on the right, with labels of -100."
        )

    def fault(self, message: str, remedy: str = "Write it with `neuron-train data prepare`.") -> InputError:
        """About the directory."""
        return InputError([error(self.key, message, remedy)])


def left_padded(mask: Any) -> int | None:
    """The first row of [n, S] in which a zero stands before a one: attention is causal, so only what follows is hidden
    from a token."""
    is_token = mask != 0
    rows = (is_token[:, 1:] & ~is_token[:, :-1]).any(axis=1).nonzero()[0]
    return int(rows[0]) if len(rows) else None
