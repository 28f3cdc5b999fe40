"""Log-probabilities of DPO's reference by sample, in `reference_log_probs` of the log directory.

    <part>.npy       float64 [N, 2]: chosen and rejected answer of each sample, in sample order
    <part>.json      what they are of, and their checksum; without it the table is not there
    .<part>.rows     rows as they come, in the same order; a pass that was interrupted goes on behind them
    .<part>.json     what these are of

A table is of samples and of weights. A run that resumes keeps the table that it began with, wherever its start weights
are by now: the reference is the model that the run began with, and not what a key names today.
"""

import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from neuron_trainer.storage import files

from .log_dir import REFERENCE_FOLDER

log = logging.getLogger(__name__)

_ROW: Final = 2 * np.dtype(np.float64).itemsize

Rows = NDArray[np.float64]
"""[n, 2]: chosen, rejected."""


@dataclass(frozen=True, slots=True)
class TableOrigin:
    """What the log-probabilities are of."""

    samples: str
    """Fingerprint of the samples."""
    count: int
    """Of the samples."""
    weights: str | None
    """Fingerprint of the start weights; None where they are no longer there."""
    run_id: str
    """The run that the table was made in."""

    def accepts(self, other: dict[str, Any], *, resumes: bool) -> bool:
        """Return whether a table of another origin is this one's; `resumes`: of a run that goes on."""
        if (other.get("samples"), other.get("count")) != (self.samples, self.count):
            return False
        is_same_run = resumes and self.run_id != "" and other.get("run_id") == self.run_id
        return is_same_run or self.weights is None or other.get("weights") == self.weights


class ReferenceTable:
    """The table of one part of the data; used by one process."""

    def __init__(self, log_dir: Path, part: str, origin: TableOrigin, guard: Callable[[], None]) -> None:
        """`guard` raises where the directory is no longer the run's."""
        self._folder, self._origin, self._guard = log_dir / REFERENCE_FOLDER, origin, guard
        self._table, self._description = self._folder / f"{part}.npy", self._folder / f"{part}.json"
        self._rows, self._begun = self._folder / f".{part}.rows", self._folder / f".{part}.json"

    def read(self, *, resumes: bool) -> Rows | None:
        """Return the whole table; None where it is not there, of something else, or damaged."""
        description = _description(self._description)
        if not self._origin.accepts(description, resumes=resumes):
            return None
        try:
            content = self._table.read_bytes()
            if xxhash.xxh3_128_hexdigest(content) != description.get("xxh128"):
                log.warning("%s is damaged: the reference log-probabilities are computed again", self._table)
                return None
            table: Rows = np.load(self._table)
        except (OSError, ValueError):
            return None
        return table if table.shape == (self._origin.count, 2) and table.dtype == np.float64 else None

    def begin(self, *, resumes: bool) -> int:
        """Return the number of rows that an interrupted pass has left; those of something else are removed."""
        self._guard()
        with files.naming(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        if self._rows.exists() and self._origin.accepts(_description(self._begun), resumes=resumes):
            return min(self._rows.stat().st_size // _ROW, self._origin.count)
        self._rows.unlink(missing_ok=True)
        files.replace(self._begun, files.json_dumps(asdict(self._origin)))
        return 0

    def write(self, first: int, rows: Rows) -> None:
        """Write rows from a number on, which at most follows on those that are there."""
        self._guard()
        with files.naming(self._rows), self._rows.open("r+b" if self._rows.exists() else "w+b") as file:
            file.seek(first * _ROW)
            file.write(rows.astype("<f8").tobytes())
            file.flush()
            os.fsync(file.fileno())

    def finish(self) -> Rows:
        """Make the rows the table, and return it."""
        self._guard()
        table = np.fromfile(self._rows, dtype="<f8").reshape(-1, 2)[: self._origin.count]
        unfinished = self._folder / f".{self._table.name}"
        with files.naming(unfinished), unfinished.open("wb") as file:
            np.save(file, table)
            file.flush()
            os.fsync(file.fileno())
        digest = xxhash.xxh3_128_hexdigest(unfinished.read_bytes())
        unfinished.replace(self._table)
        files.replace(self._description, files.json_dumps({**asdict(self._origin), "xxh128": digest}, indent=1))
        self._rows.unlink(missing_ok=True)
        self._begun.unlink(missing_ok=True)
        return table


def _description(path: Path) -> dict[str, Any]:
    """Return what a file says; nothing where it is not there or unreadable."""
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
