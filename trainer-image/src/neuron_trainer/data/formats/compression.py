"""Compressed files, known by their first bytes; pyarrow has the decompressors that Python 3.11 lacks."""

import bz2
import gzip
import lzma
from pathlib import Path
from typing import IO, Any, Final

_MAGIC: Final = {
    b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4",
}  # fmt: skip


def by_content(head: bytes) -> str:
    """The compression's name; empty for none of them."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


def open_plain(path: Path, compression: str) -> IO[bytes]:
    """The decompressed bytes, read once from the beginning to the end. Raises `OSError`."""
    openers: dict[str, Any] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
    if compression in openers:
        opened: IO[bytes] = openers[compression](path, "rb")
        return opened
    if compression:
        import pyarrow

        stream: IO[bytes] = pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), compression)
        return stream
    return path.open("rb")
