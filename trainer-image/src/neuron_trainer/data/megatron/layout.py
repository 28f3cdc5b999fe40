"""The bytes of `.bin` and `.idx` (B-16): tokens back to back, and where each document begins.

`.idx`, little endian: magic, uint64 version, uint8 dtype code, uint64 number of sequences n, uint64 number of document
bounds d, int32[n] lengths in tokens, int64[n] offsets in bytes, int64[d] the sequences at which documents begin, and
the end.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]

MAGIC: Final = b"MMIDIDX\x00\x00"
VERSION: Final = 1
HEADER: Final = struct.Struct("<9sQBQQ")
"""Magic, version, dtype code, n, d: 34 bytes."""
CODES: Final = {1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}
"""Of integers. 6 and 7 are floating point (in an order on which implementations differ): no token ids."""
_SMALL_VOCABULARY: Final = 65500
"""Vocabularies below it are written as uint16, as Megatron does."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first bytes of an `.idx`, read."""

    dtype: np.dtype[Any]
    sequences: int
    bounds: int

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return HEADER.size + 12 * self.sequences + 8 * self.bounds


def bin_path(prefix: Path) -> Path:
    """The tokens; a prefix may have dots in its name."""
    return prefix.with_name(prefix.name + ".bin")


def idx_path(prefix: Path) -> Path:
    """The index."""
    return prefix.with_name(prefix.name + ".idx")


def dtype_for(vocabulary: int) -> np.dtype[Any]:
    """The narrowest that is used for a vocabulary of this size: uint16 or int32."""
    return np.dtype(np.uint16 if vocabulary < _SMALL_VOCABULARY else np.int32)


def code_of(dtype: np.dtype[Any]) -> int:
    """The number that stands for a dtype; raises KeyError for one that has none."""
    return {np.dtype(kind): code for code, kind in CODES.items()}[dtype]


def index_bytes(dtype: np.dtype[Any], lengths: Integers, bounds: Integers) -> bytes:
    """A whole `.idx`."""
    ends = np.cumsum(lengths, dtype=np.int64) * dtype.itemsize
    offsets = np.concatenate([np.zeros(min(1, len(ends)), np.int64), ends[:-1]])
    head = HEADER.pack(MAGIC, VERSION, code_of(dtype), len(lengths), len(bounds))
    parts = (lengths.astype("<i4"), offsets.astype("<i8"), bounds.astype("<i8"))
    return head + b"".join(part.tobytes() for part in parts)
