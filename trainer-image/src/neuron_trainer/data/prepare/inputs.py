"""Documents of the input, in pieces of about a megabyte.

Text in UTF-8, JSON lines and parquet are read where they are. Everything else (compressed, of another encoding, a list,
CSV, Arrow) is copied once, beside the unfinished output, as one of the former: pieces need a file that can be entered
anywhere.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from neuron_api.findings.finding import Finding, error
from neuron_trainer.data.formats import compression, records, tables, text
from neuron_trainer.data.formats.detection import Detected, Form, detect
from neuron_trainer.data.formats.errors import FormatError, reading
from neuron_trainer.errors import InputError

from .request import PrepareRequest

log = logging.getLogger(__name__)

PIECE: Final = 1 << 20
"""Bytes that are tokenised at once, up to a line's end; in parquet files, of compressed text."""
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that can be entered anywhere: text in UTF-8, JSON lines or parquet."""

    path: Path
    form: Form
    text_key: str
    errors: text.Errors


@dataclass(frozen=True, slots=True)
class InputPiece:
    """A part of an input: bytes of a text or of lines, row groups of a parquet file."""

    source: InputFile
    start: int
    stop: int
    ends_document: bool
    """Whether the last document ends with the piece; a text file is one document."""


class Documents(NamedTuple):
    """Of a piece."""

    texts: list[str]
    replaced: int
    """Characters that the decoding replaced."""


def check(request: PrepareRequest) -> list[Finding]:
    """All files that cannot be read."""
    found = []
    for path in request.inputs:
        try:
            _detect(path, request)
        except FormatError as problem:
            found.append(error("--input", problem.message, problem.remedy))
    return found


def open_all(request: PrepareRequest, folder: Path) -> list[InputFile]:
    """Every file of the request, copied to the folder where it cannot be entered anywhere; raises `InputError`."""
    try:
        return [_open(_detect(path, request), request, folder, index) for index, path in enumerate(request.inputs)]
    except FormatError as problem:
        raise fault(problem) from None


def pieces(source: InputFile, size: int = PIECE) -> list[InputPiece]:
    """The whole file; raises `InputError`."""
    try:
        bounds = _row_groups(source, size) if source.form is Form.PARQUET else _lines(source.path, size)
    except FormatError as problem:
        raise fault(problem) from None
    ends = [source.form is not Form.TEXT or index == len(bounds) - 1 for index in range(len(bounds))]
    return [InputPiece(source, start, stop, end) for (start, stop), end in zip(bounds, ends, strict=True)]


def documents(piece: InputPiece) -> Documents:
    """Their texts; raises `InputError`. Of a text file one, which goes on in the next piece if it does not end."""
    try:
        return _documents(piece, first_line=1)
    except FormatError as problem:
        if not piece.start or piece.source.form is Form.PARQUET:
            raise fault(problem) from None
    try:  # again, with the lines counted: only a message needs them
        return _documents(piece, _first_line(piece))
    except FormatError as problem:
        raise fault(problem) from None


def fault(problem: FormatError) -> InputError:
    """As the command reports it."""
    remedy = problem.remedy or "Name the text with --text-key, or fix the file."
    return InputError([error("--input", problem.message, remedy)])


def report_replaced(count: int) -> None:
    """Once for a command."""
    if count:
        log.warning("%d characters that could not be decoded were replaced by U+FFFD", count)


def _detect(path: Path, request: PrepareRequest) -> Detected:
    form = None if request.input_format is None else Form(request.input_format)
    return detect(path, form, request.encoding)


def _open(found: Detected, request: PrepareRequest, folder: Path, index: int) -> InputFile:
    size = found.path.stat().st_size
    log.info("%s: %s%s", found.path, found, "" if size else ", empty")
    own = InputFile(found.path, found.form, request.text_key, request.encoding_errors)
    is_plain = not found.compression and found.encoding in ("utf-8", "utf-8-sig", "utf8", "UTF-8")
    if found.form is Form.PARQUET or (is_plain and (found.form is Form.TEXT or found.is_lines)):
        return own
    form = Form.TEXT if found.form is Form.TEXT else Form.JSON
    copy = replace(own, path=folder / f"input-{index:06d}.{form}", form=form)
    if not copy.path.exists():
        _copy(found, copy)
    return copy


def _copy(found: Detected, copy: InputFile) -> None:
    unfinished, replaced = copy.path.with_name(f".{copy.path.name}"), 0
    with unfinished.open("w", encoding="utf-8") as file:
        for one in _plain(found, copy):
            file.write(one.text)
            replaced += one.replaced
    unfinished.replace(copy.path)
    report_replaced(replaced)


def _plain(found: Detected, copy: InputFile) -> Iterator[text.Text]:
    """The text, or a line of JSON for each record's."""
    if found.form is Form.TEXT:
        with reading(found.path), compression.open_plain(found.path, found.compression) as stream:
            for number, chunk in enumerate(text.chunks(stream, found.path, found.encoding, copy.errors)):
                yield chunk if number else chunk._replace(text=chunk.text.removeprefix("\ufeff"))
        return
    for place, value, replaced in records.read(found, copy.errors):
        own = text.without_surrogates(records.field(value, copy.text_key, place), place, copy.errors)
        line = json.dumps({copy.text_key: own.text}, ensure_ascii=False)
        yield text.Text(f"{line}\n", own.replaced + replaced)


def _lines(path: Path, size: int) -> list[tuple[int, int]]:
    """Byte ranges that end after a line."""
    with reading(path), path.open("rb") as file:
        total, start, found = path.stat().st_size, 0, []
        while start < total:
            file.seek(min(start + size, total))
            file.readline()
            found.append((start, file.tell()))
            start = file.tell()
    return found


def _read(piece: InputPiece) -> bytes:
    with reading(piece.source.path), piece.source.path.open("rb") as file:
        file.seek(piece.start)
        content = file.read(piece.stop - piece.start)
    return content if piece.start else content.removeprefix(_BOM)


def _first_line(piece: InputPiece) -> int:
    """The number of the piece's first line in the file."""
    with reading(piece.source.path), piece.source.path.open("rb") as file:
        return 1 + sum(file.read(min(PIECE, piece.start - at)).count(b"\n") for at in range(0, piece.start, PIECE))


def _documents(piece: InputPiece, first_line: int) -> Documents:
    source = piece.source
    if source.form is Form.PARQUET:
        return _clean(_rows(piece), source.errors)
    found = text.decode(_read(piece), source.path, "utf-8", source.errors, first_line=first_line)
    if source.form is Form.TEXT:
        return Documents([found.text], found.replaced)
    cleaned = _clean(_fields(found.text, source, first_line), source.errors)
    return cleaned._replace(replaced=cleaned.replaced + found.replaced)


def _clean(placed: Iterable[tuple[str, str]], errors: text.Errors) -> Documents:
    texts = [text.without_surrogates(one, place, errors) for place, one in placed]
    return Documents([one.text for one in texts], sum(one.replaced for one in texts))


def _fields(content: str, source: InputFile, first_line: int) -> Iterator[tuple[str, str]]:
    """Each record's text, with its place."""
    for number, line in enumerate(content.split("\n"), start=first_line):
        if stripped := line.strip(" \t\r"):
            place = f"line {number} of {source.path}"
            yield place, records.field(records.parse(stripped, place), source.text_key, place)


def _row_groups(source: InputFile, size: int) -> list[tuple[int, int]]:
    """Ranges of row groups of about the size; one that is larger is a piece of its own."""
    with tables.reading(source.path):
        file = tables.parquet_file(source.path)
        names, count = file.schema_arrow.names, file.metadata.num_row_groups
        sizes = [file.metadata.row_group(index).total_byte_size for index in range(count)]
    if source.text_key not in names:
        shown = ", ".join(map(repr, names)) or "none"
        raise FormatError(f"{source.path} has no column {source.text_key!r}; its columns: {shown}.")
    found, start, collected = [], 0, 0
    for index, one in enumerate(sizes):
        collected += one
        if collected >= size or index == count - 1:
            found.append((start, index + 1))
            start, collected = index + 1, 0
    return found


def _rows(piece: InputPiece) -> Iterator[tuple[str, str]]:
    """Each row's text, with its place."""
    path, key = piece.source.path, piece.source.text_key
    for number, row in tables.parquet_rows(path, piece.start, piece.stop, [key]):
        place = f"row {number} of {path}"
        yield place, records.field(row, key, place)
