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
from typing import Any, Final, NamedTuple

from neuron_api.findings.finding import Finding, error
from neuron_trainer.data.formats import detection, records, tables, text
from neuron_trainer.data.formats.detection import Detected, Form, detect
from neuron_trainer.data.formats.errors import FormatError, reading
from neuron_trainer.errors import InputError

from .request import PrepareRequest

log = logging.getLogger(__name__)

PIECE: Final = 1 << 20
"""Bytes that are tokenised at once, up to a line's end; in parquet files, of compressed text."""
_BOM: Final = b"\xef\xbb\xbf"
_TUNING_FIELDS: Final = ({"input", "output"}, {"instruction", "output"}, {"prompt", "completion"}, {"messages"})
"""Fields of records with a question and an answer."""


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
    """The documents of a piece."""

    texts: list[str]
    replaced: int
    """Characters that the decoding replaced."""


def check(request: PrepareRequest) -> list[Finding]:
    """Return a finding for each file that cannot be read."""
    findings = []
    for path in request.inputs:
        try:
            _detect(path, request)
        except FormatError as problem:
            findings.append(error("--input", problem.message, problem.remedy))
    return findings


def open_all(request: PrepareRequest, folder: Path) -> list[InputFile]:
    """Open every file of the request, copied to the folder where it cannot be entered anywhere; raise `InputError`."""
    try:
        return [_open(_detect(path, request), request, folder, index) for index, path in enumerate(request.inputs)]
    except FormatError as problem:
        raise fault(problem) from None


def pieces(source: InputFile, size: int = PIECE) -> list[InputPiece]:
    """Cut the whole file; raise `InputError`."""
    try:
        bounds = _row_groups(source, size) if source.form is Form.PARQUET else _lines(source.path, size)
    except FormatError as problem:
        raise fault(problem) from None
    ends = [source.form is not Form.TEXT or index == len(bounds) - 1 for index in range(len(bounds))]
    return [InputPiece(source, start, stop, end) for (start, stop), end in zip(bounds, ends, strict=True)]


def documents(piece: InputPiece) -> Documents:
    """Return their texts; raise `InputError`. A text file is one, which may continue in the next piece."""
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
    """Return a file's problem as the command reports it."""
    return InputError([error("--input", problem.message, problem.remedy or "Fix the file.")])


def field_text(value: Any, name: str, place: str) -> str:
    """Return the text of a record; raise `FormatError` with what helps: another field, another reader, or the file."""
    try:
        return records.field(value, name, place)
    except FormatError as problem:
        raise FormatError(problem.message, problem.remedy or _field_remedy(value, name)) from None


def _field_remedy(value: Any, name: str) -> str:
    if not isinstance(value, dict):
        return 'Write each record as an object: {"text": "..."}.'
    if name in value:
        return "Fix the record, or remove it."
    if any(fields <= value.keys() for fields in _TUNING_FIELDS):
        return (
            "These are records for supervised fine-tuning, which need no `data prepare`: name the file in "
            "data.train_dir and set model_alignment_strategy.sft."
        )
    if texts := [key for key, content in value.items() if isinstance(content, str)]:
        return f"Name the field that holds the text: --text-key {max(texts, key=lambda key: len(value[key]))}."
    return "Name the field that holds the text with --text-key."


def report_replaced(count: int) -> None:
    """Log how many characters were replaced, once for a command."""
    if count:
        log.warning("%d characters that could not be decoded were replaced by U+FFFD", count)


def _detect(path: Path, request: PrepareRequest) -> Detected:
    form = None if request.input_format is None else Form(request.input_format)
    return detect(path, form, request.encoding)


def _open(detected: Detected, request: PrepareRequest, folder: Path, index: int) -> InputFile:
    size = detected.path.stat().st_size
    log.info("%s: %s%s", detected.path, detected, "" if size else ", empty")
    own = InputFile(detected.path, detected.form, request.text_key, request.encoding_errors)
    is_plain = not detected.compression and detected.encoding in ("utf-8", "utf-8-sig", "utf8", "UTF-8")
    if detected.form is Form.PARQUET or (is_plain and (detected.form is Form.TEXT or detected.is_lines)):
        return own
    form = Form.TEXT if detected.form is Form.TEXT else Form.JSON
    copy = replace(own, path=folder / f"input-{index:06d}.{form}", form=form)
    if not copy.path.exists():
        _copy(detected, copy)
    return copy


def _copy(detected: Detected, copy: InputFile) -> None:
    unfinished, replaced = copy.path.with_name(f".{copy.path.name}"), 0
    with unfinished.open("w", encoding="utf-8") as file:
        for chunk in _plain(detected, copy):
            file.write(chunk.text)
            replaced += chunk.replaced
    unfinished.replace(copy.path)
    report_replaced(replaced)


def _plain(detected: Detected, copy: InputFile) -> Iterator[text.Text]:
    """Yield the text, or a line of JSON for each record's."""
    if detected.form is Form.TEXT:
        with reading(detected.path), detection.open_plain(detected.path, detected.compression) as stream:
            for number, chunk in enumerate(text.chunks(stream, detected.path, detected.encoding, copy.errors)):
                yield chunk if number else chunk._replace(text=chunk.text.removeprefix("\ufeff"))
        return
    for place, value, replaced in records.read(detected, copy.errors):
        own = text.without_surrogates(field_text(value, copy.text_key, place), place, copy.errors)
        line = json.dumps({copy.text_key: own.text}, ensure_ascii=False)
        yield text.Text(f"{line}\n", own.replaced + replaced)


def _lines(path: Path, size: int) -> list[tuple[int, int]]:
    """Return byte ranges that end after a line."""
    with reading(path), path.open("rb") as file:
        total, start, ranges = path.stat().st_size, 0, []
        while start < total:
            file.seek(min(start + size, total))
            file.readline()
            ranges.append((start, file.tell()))
            start = file.tell()
    return ranges


def _read(piece: InputPiece) -> bytes:
    with reading(piece.source.path), piece.source.path.open("rb") as file:
        file.seek(piece.start)
        content = file.read(piece.stop - piece.start)
    return content if piece.start else content.removeprefix(_BOM)


def _first_line(piece: InputPiece) -> int:
    """Return the number of the piece's first line in the file."""
    with reading(piece.source.path), piece.source.path.open("rb") as file:
        return 1 + sum(file.read(min(PIECE, piece.start - at)).count(b"\n") for at in range(0, piece.start, PIECE))


def _documents(piece: InputPiece, first_line: int) -> Documents:
    source = piece.source
    if source.form is Form.PARQUET:
        return _clean(_rows(piece), source.errors)
    decoded = text.decode(_read(piece), source.path, "utf-8", source.errors, first_line=first_line)
    if source.form is Form.TEXT:
        return Documents([decoded.text], decoded.replaced)
    cleaned = _clean(_fields(decoded.text, source, first_line), source.errors)
    return cleaned._replace(replaced=cleaned.replaced + decoded.replaced)


def _clean(placed: Iterable[tuple[str, str]], errors: text.Errors) -> Documents:
    cleaned = [text.without_surrogates(content, place, errors) for place, content in placed]
    return Documents([item.text for item in cleaned], sum(item.replaced for item in cleaned))


def _fields(content: str, source: InputFile, first_line: int) -> Iterator[tuple[str, str]]:
    """Yield each record's text, with its place."""
    for number, line in enumerate(content.split("\n"), start=first_line):
        if stripped := line.strip(" \t\r"):
            place = f"line {number} of {source.path}"
            yield place, field_text(records.parse(stripped, place), source.text_key, place)


def _row_groups(source: InputFile, size: int) -> list[tuple[int, int]]:
    """Return ranges of row groups of about the size; a larger group is a piece of its own."""
    with tables.reading(source.path):
        file = tables.parquet_file(source.path)
        names, count = file.schema_arrow.names, file.metadata.num_row_groups
        sizes = [file.metadata.row_group(index).total_byte_size for index in range(count)]
    if source.text_key not in names:
        shown = ", ".join(map(repr, names)) or "none"
        message = f"{source.path} has no column {source.text_key!r}; its columns: {shown}."
        raise FormatError(message, _field_remedy(dict.fromkeys(names), source.text_key))
    groups, start, collected = [], 0, 0
    for index, bytes_of_group in enumerate(sizes):
        collected += bytes_of_group
        if collected >= size or index == count - 1:
            groups.append((start, index + 1))
            start, collected = index + 1, 0
    return groups


def _rows(piece: InputPiece) -> Iterator[tuple[str, str]]:
    """Yield each row's text, with its place."""
    path, key = piece.source.path, piece.source.text_key
    for number, row in tables.parquet_rows(path, piece.start, piece.stop, [key]):
        place = f"row {number} of {path}"
        yield place, field_text(row, key, place)
