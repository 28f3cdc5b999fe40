"""Read `.bin` and `.idx`: documents of token ids, memory-mapped."""

import os
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuron_api.findings.finding import error
from neuron_trainer.data.paths import is_file
from neuron_trainer.errors import InputError

from .layout import CODES, HEADER, MAGIC, VERSION, Header, bin_path, idx_path

_KEY: Final = "data.data_prefix"
_REMEDY: Final = "Write it again with `neuron-train data prepare --format megatron`."
_CHUNK: Final = 1 << 26


class IndexedTokens:
    """The documents of one prefix. Arrays are views of the files and cannot be written."""

    def __init__(self, prefix: str | Path) -> None:
        """Raises `InputError` when a file is missing, is another format, or is not whole."""
        self.prefix = Path(prefix)
        header = _header(idx_path(self.prefix))
        count, start = header.sequences, HEADER.size
        index = np.memmap(idx_path(self.prefix), np.uint8, mode="r")
        self.lengths: NDArray[np.int32] = _view(index, start, count, np.dtype("<i4"))
        """Tokens of each document, int32 [n]."""
        self._offsets: NDArray[np.int64] = _view(index, start + 4 * count, count, np.dtype("<i8"))
        self.bounds: NDArray[np.int64] = _view(index, start + 12 * count, header.bounds, np.dtype("<i8"))
        self.dtype = header.dtype
        self._check()
        size = bin_path(self.prefix).stat().st_size
        # An empty file cannot be mapped.
        mapped = np.memmap(bin_path(self.prefix), header.dtype, mode="r") if size else np.empty(0, header.dtype)
        self.tokens: NDArray[Any] = mapped.view(np.ndarray)
        """All of them, back to back."""

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, document: int) -> NDArray[Any]:
        start = int(self._offsets[document]) // self.dtype.itemsize
        return self.tokens[start : start + int(self.lengths[document])]

    def __reduce__(self) -> tuple[type["IndexedTokens"], tuple[Path]]:
        """A loader's worker opens the files itself; the array itself would be copied."""
        return IndexedTokens, (self.prefix,)

    def starts(self, documents: NDArray[Any]) -> NDArray[np.int64]:
        """Return where these documents begin in `tokens`."""
        places: NDArray[np.int64] = self._offsets[documents] // self.dtype.itemsize
        return places

    def warm_up(self) -> None:
        """Read the tokens once, so that they are in the page cache."""
        with bin_path(self.prefix).open("rb") as file:
            while file.read(_CHUNK):
                pass

    def _check(self) -> None:
        """Check that index and tokens belong together: a few comparisons, at every start."""
        index, tokens = idx_path(self.prefix), bin_path(self.prefix)
        if not is_file(tokens):
            raise _fault(f"there is {index.name} but no {tokens}.")
        expected = int(self.lengths.sum(dtype=np.int64)) * self.dtype.itemsize
        if (size := tokens.stat().st_size) != expected:
            cause = "it is cut off" if size < expected else "they do not belong together"
            raise _fault(f"{tokens} has {size} bytes and {index.name} describes {expected}: {cause}.")
        if len(self) and (int(self.lengths.min()) < 0 or not self._is_contiguous()):
            raise _fault(f"the offsets in {index} are not those of documents that follow each other.")
        if len(self.bounds) == 0 or self.bounds[0] != 0 or self.bounds[-1] != len(self):
            raise _fault(f"the documents in {index} do not cover its {len(self)} sequences.")

    def _is_contiguous(self) -> bool:
        steps = self.lengths[:-1].astype(np.int64) * self.dtype.itemsize
        return bool(self._offsets[0] == 0 and np.array_equal(np.diff(self._offsets), steps))


def _header(path: Path) -> Header:
    if not is_file(path):
        raise InputError([error(_KEY, f"there is no file {path}.", "Give the path without .bin and .idx.")])
    with path.open("rb") as file:
        first, size = file.read(HEADER.size), os.fstat(file.fileno()).st_size
    if first[: len(MAGIC)] != MAGIC:
        raise _fault(f"{path} is not a Megatron index: it does not begin with {MAGIC!r}.")
    if len(first) < HEADER.size:
        raise _fault(f"{path} ends inside its header: it is cut off.")
    _, version, code, sequences, bounds = HEADER.unpack(first)
    if version != VERSION:
        raise _fault(f"{path} is of version {version}, known is {VERSION}.")
    if code not in CODES:
        raise _fault(f"{path} has dtype code {code}, known for tokens are {', '.join(map(str, sorted(CODES)))}.")
    header = Header(np.dtype(CODES[code]).newbyteorder("<"), sequences, bounds)
    if size == header.size + sequences and sequences:
        raise _fault(f"{path} has a mode for each sequence: multimodal data is not supported.")
    if size != header.size:
        cause = "it is cut off" if size < header.size else "it is damaged"
        raise _fault(f"{path} has {size} bytes, its header describes {header.size}: {cause}.")
    return header


def _view(index: NDArray[np.uint8], start: int, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.frombuffer(index, dtype, count, start)


def _fault(message: str) -> InputError:
    return InputError([error(_KEY, message, _REMEDY)])
