"""What a file is: its form, its compression and its encoding. The content decides; the suffix settles what is open.

Compressed files are known by their first bytes; pyarrow has the decompressors that Python 3.11 lacks.
"""

import bz2
import gzip
import json
import lzma
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import IO, Any, Final

from neuron_api.platform import inputs

from . import text
from .errors import FormatError, reading

_MAGIC: Final = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}


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


class Form(StrEnum):
    """How a file holds its text."""

    TEXT = "text"
    JSON = "json"
    """A record per line, a list of records, or records one after the other."""
    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"


_TABLES: Final = {b"PAR1": Form.PARQUET, b"ARROW1": Form.ARROW, b"\xff\xff\xff\xff": Form.ARROW}
_BINARY: Final = {
    b"%PDF-": "a PDF", b"PK\x03\x04": "a ZIP archive (or an Office document)", b"\x7fELF": "a program",
    b"\x89PNG": "a picture", b"\xff\xd8\xff": "a picture", b"SQLite format 3": "an SQLite database",
    b"\x89HDF": "an HDF5 file", b"7z\xbc\xaf": "a 7-Zip archive", b"Rar!": "a RAR archive",
    b"\x93NUMPY": "a NumPy array", b"MMIDIDX": "a Megatron index",
    b"\x80\x02": "a pickle", b"\x80\x04": "a pickle", b"\x80\x05": "a pickle",
}  # fmt: skip
_FORMS_OF_RECORDS: Final = (
    f"a file whose name ends in {', '.join(suffix for suffix, form in inputs.FORMS.items() if form != 'text')}; "
    f"compressed ones have {', '.join(inputs.COMPRESSIONS)} after that"
)
_HEAD: Final = 1 << 16
_BLANK: Final = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Detected:
    """A file that can be read."""

    path: Path
    form: Form
    compression: str = ""
    """`gzip`, `bzip2`, `xz`, `zstd` or `lz4`; empty: none."""
    encoding: str = "utf-8"
    """Of text, JSON and CSV."""
    is_lines: bool = False
    """JSON: each line is a record."""
    delimiter: str = ","
    """CSV: between columns."""

    def __str__(self) -> str:
        named = {Form.TEXT: "plain text", Form.JSON: "JSON records", Form.CSV: "CSV records"}
        parts = [named.get(self.form, f"{self.form} records")]
        if self.form in named:
            parts.append("UTF-8" if self.encoding.startswith("utf-8") else self.encoding)
        return ", ".join([*parts, *([self.compression] if self.compression else [])])


def detect(path: Path, form: Form | None = None, encoding: str | None = None, *, is_records: bool = False) -> Detected:
    """`form` and `encoding`: the user's choice, None: found out. `is_records`: text is none of the choices. Raises
    `FormatError`."""
    with reading(path):
        _check_regular(path)
        with path.open("rb") as file:
            packed = by_content(file.read(16))
        with open_plain(path, packed) as stream:
            head = bytes(stream.read(_HEAD))
    if packed and by_content(head):
        raise FormatError(f"{path} is compressed twice.", "Decompress it once.")
    suffix = _suffix(path)
    if (table := _table(head)) is not None:
        if packed:
            raise FormatError(
                f"{path} is a compressed {table} file.", "Decompress it: the form has its own compression."
            )
        if form not in (None, table):
            raise FormatError(f"{path} is a {table} file, not {form}.", f"Use --input-format {table}.")
        return Detected(path, table)
    chosen = form or (Form(inputs.FORMS[suffix]) if suffix in inputs.FORMS else None)
    if chosen in (Form.PARQUET, Form.ARROW):
        raise FormatError(f"{path} is not a {chosen} file: it does not begin as one.", "It is damaged, or misnamed.")
    _check_text(path, head, encoding)
    used = encoding or text.by_mark(head) or "utf-8"
    start = head.decode(used, "ignore").lstrip("\ufeff" + _BLANK)
    if chosen in (None, Form.TEXT) and form is None and _is_json(start):
        if not is_records:
            raise FormatError(
                f"{path} has JSON records, but its name does not end in .jsonl or .json.",
                "Say how to read it: --input-format json or --input-format text.",
            )
        chosen = Form.JSON
    if is_records and chosen in (None, Form.TEXT):
        reason = "has no records: it is plain text" if start else "is empty"
        raise FormatError(f"{path} {reason}.", f"Give JSON lines, CSV, parquet or Arrow: {_FORMS_OF_RECORDS}.")
    if chosen is Form.CSV:
        return Detected(path, Form.CSV, packed, used, delimiter="\t" if suffix == ".tsv" else ",")
    is_lines = chosen is Form.JSON and not start.startswith("[") and start.partition("\n")[0].strip() != "{"
    return Detected(path, chosen or Form.TEXT, packed, used, is_lines=is_lines)


def _check_regular(path: Path) -> None:
    mode = path.stat().st_mode
    if S_ISDIR(mode):
        raise FormatError(f"{path} is a directory.", f"Name the files in it: {path}/*")
    if not S_ISREG(mode):
        raise FormatError(f"{path} is not a regular file.", "Write the data to a file first.")


def _suffix(path: Path) -> str:
    """Return the suffix in lower case, that of the compression left out."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in inputs.COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _table(head: bytes) -> Form | None:
    return next((form for magic, form in _TABLES.items() if head.startswith(magic)), None)


def _check_text(path: Path, head: bytes, encoding: str | None) -> None:
    if (binary := next((name for magic, name in _BINARY.items() if head.startswith(magic)), None)) is not None:
        raise FormatError(f"{path} is {binary}, not text.", "Extract the text into a file of its own.")
    if encoding is None and not text.by_mark(head) and (place := head.find(b"\0")) >= 0:
        number = head.count(b"\n", 0, place) + 1
        raise FormatError(
            f"{path} is not text: line {number} has a NUL byte.",
            "If it is text in UTF-16, give --encoding utf-16-le or utf-16-be.",
        )


def _is_json(start: str) -> bool:
    """Return whether it begins with an object, or a list of them."""
    if start.startswith("["):
        return start[1:].lstrip(_BLANK).startswith("{")
    if not start.startswith("{"):
        return False
    first = start.partition("\n")[0]
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return start[1:].lstrip(_BLANK).startswith('"') and first.rstrip().endswith(("{", ",", "}"))
