"""Documents of text, JSON-lines and parquet files, in pieces of about a megabyte."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from neuron_api.findings import error
from neuron_trainer.errors import InputError

PIECE: Final = 1 << 20
"""Bytes that are tokenised at once, up to a line's end; in parquet files, of compressed text."""
_JSON_LINES: Final = (".jsonl", ".json")
_PARQUET: Final = ".parquet"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file: bytes of a text or of lines, row groups of a parquet file."""

    path: Path
    start: int
    stop: int
    ends_document: bool
    """Whether the last document ends with the piece; a text file is one document."""
    text_key: str


def is_text(path: Path) -> bool:
    """Whether the whole file is one document: whatever has no suffix of records."""
    return path.suffix not in (*_JSON_LINES, _PARQUET)


def pieces(path: Path, text_key: str, size: int = PIECE) -> list[Piece]:
    """The whole file; raises `InputError`."""
    bounds = _row_groups(path, text_key, size) if path.suffix == _PARQUET else _lines(path, size)
    ends = [not is_text(path) or index == len(bounds) - 1 for index in range(len(bounds))]
    return [Piece(path, start, stop, end, text_key) for (start, stop), end in zip(bounds, ends, strict=True)]


def documents(piece: Piece) -> Iterator[str]:
    """Their texts; raises `InputError`. Of a text file one, which goes on in the next piece if it does not end."""
    if piece.path.suffix == _PARQUET:
        yield from _rows(piece)
        return
    with piece.path.open("rb") as file:
        file.seek(piece.start)
        content = file.read(piece.stop - piece.start)
    if is_text(piece.path):
        yield content.decode(errors="replace")
        return
    for index, line in enumerate(content.split(b"\n")):
        if line.strip():
            yield _field(piece, index, line)


def _lines(path: Path, size: int) -> list[tuple[int, int]]:
    """Byte ranges that end after a line."""
    total, start, found = path.stat().st_size, 0, []
    with path.open("rb") as file:
        while start < total:
            file.seek(min(start + size, total))
            file.readline()
            found.append((start, file.tell()))
            start = file.tell()
    return found


def _field(piece: Piece, index: int, line: bytes) -> str:
    try:
        text = json.loads(line)[piece.text_key]
    except (ValueError, KeyError, TypeError) as problem:
        with piece.path.open("rb") as file:
            number = file.read(piece.start).count(b"\n") + index + 1
        said = f"no field {piece.text_key!r}" if isinstance(problem, KeyError) else "not a JSON object"
        raise _fault(f"line {number} of {piece.path} has {said}." if "field" in said else
                     f"line {number} of {piece.path} is {said}.") from None  # fmt: skip
    if not isinstance(text, str):
        raise _fault(f"the field {piece.text_key!r} of a line of {piece.path} is a {type(text).__name__}, not a text.")
    return text


def _row_groups(path: Path, text_key: str, size: int) -> list[tuple[int, int]]:
    """Ranges of row groups of about the size; one that is larger is a piece of its own."""
    file = _parquet(path)
    if text_key not in file.schema_arrow.names:
        raise _fault(f"{path} has no column {text_key!r}, only {', '.join(file.schema_arrow.names)}.")
    found, start, collected = [], 0, 0
    count = file.metadata.num_row_groups
    for index in range(count):
        collected += file.metadata.row_group(index).total_byte_size
        if collected >= size or index == count - 1:
            found.append((start, index + 1))
            start, collected = index + 1, 0
    return found


def _rows(piece: Piece) -> Iterator[str]:
    groups = list(range(piece.start, piece.stop))
    for batch in _parquet(piece.path).iter_batches(row_groups=groups, columns=[piece.text_key]):
        for text in batch.column(0).to_pylist():
            if not isinstance(text, str):
                raise _fault(f"the column {piece.text_key!r} of {piece.path} has a value that is not a text.")
            yield text


def _parquet(path: Path) -> Any:
    from pyarrow import ArrowInvalid, parquet  # comes with `datasets`

    try:
        return parquet.ParquetFile(path)
    except ArrowInvalid as problem:
        raise _fault(f"{path} is not a parquet file: {str(problem).splitlines()[0]}") from None


def _fault(message: str) -> InputError:
    return InputError([error("--input", message, "Name the text with --text-key, or mend the file.")])
