"""Index arrays on disk, built once: by one process, under the documented names, complete or not believed.

A description stands beside the arrays: what they were built from, and their checksums. Arrays without it, of other data
(another split of the same files has the same names), or with a changed byte are built again.
"""

import json
import os
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuron_api.findings.finding import error
from neuron_trainer.errors import InputError

Arrays = Mapping[str, NDArray[Any]]
"""By name: `doc`, `sample`, `shuffle`, or what another kind of data needs."""

WAIT: Final = 120.0
"""Seconds that others wait for the process that builds; below the time after which a collective is given up."""
_POLL: Final = 0.05


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One set of arrays in the cache."""

    stem: Path
    """Files are `<stem>_<array>_idx.npy` and `<stem>_idx.json`."""
    facts: Mapping[str, Any]
    """All that the arrays depend on, as JSON."""

    def path(self, name: str) -> Path:
        """The file of one array."""
        return self.stem.with_name(f"{self.stem.name}_{name}_idx.npy")

    @property
    def description(self) -> Path:
        """The file that makes them valid."""
        return self.stem.with_name(f"{self.stem.name}_idx.json")

    def obtain(self, build: Callable[[], Arrays], *, is_builder: bool, wait: float = WAIT) -> Arrays:
        """Memory-mapped arrays; builds them, or waits for the process that does, and raises `InputError` after that."""
        if (arrays := self._read()) is not None:
            return arrays
        if is_builder:
            self._write(build())
            if (arrays := self._read()) is not None:
                return arrays
            # Another job writes other arrays under the same names at this moment.
            return build()
        end = time.monotonic() + wait
        while time.monotonic() < end:
            time.sleep(_POLL)
            if (arrays := self._read()) is not None:
                return arrays
        raise InputError(
            [
                error(
                    "data.index_mapping_dir",
                    f"{self.description} was not written within {wait:.0f} s.",
                    "It is built by global rank 0: use a directory that all nodes share.",
                )
            ]
        )

    def _read(self) -> Arrays | None:
        """The arrays, if every byte is what the description says."""
        try:
            description = json.loads(self.description.read_text())
            if description["facts"] != json.loads(json.dumps(self.facts)):
                return None
            for name, checksum in description["crc32"].items():
                if _checksum(self.path(name)) != checksum:
                    return None
            return {name: np.load(self.path(name), mmap_mode="r") for name in description["crc32"]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _write(self, arrays: Arrays) -> None:
        """Each file by an atomic rename, the description last. Raises `InputError`."""
        try:
            self.stem.parent.mkdir(parents=True, exist_ok=True)
            for name, array in arrays.items():
                self._replace(self.path(name), array)
            checksums = {name: _checksum(self.path(name)) for name in arrays}
            self._replace(self.description, {"facts": self.facts, "crc32": checksums})
        except OSError as problem:
            message = f"the index files {self.stem}_* cannot be written: {problem.strerror}."
            fault = error("data.index_mapping_dir", message, "Give a directory that is writable.")
            raise InputError([fault]) from None

    def _replace(self, path: Path, content: NDArray[Any] | Mapping[str, Any]) -> None:
        unfinished = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}")
        try:
            with unfinished.open("wb") as file:
                if isinstance(content, np.ndarray):
                    np.save(file, content)
                else:
                    file.write(json.dumps(content, indent=1).encode())
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def _checksum(path: Path) -> int:
    """Return the checksum of a file, read through the page cache: the arrays are needed next anyway."""
    if not path.stat().st_size:
        return 0
    return zlib.crc32(np.memmap(path, np.uint8, mode="r").data)
