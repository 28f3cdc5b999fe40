"""Records of a file, each with its place there: `line 41`, or `row 41` where there are no lines."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from . import tables, text
from .detection import Detected, Form, open_plain
from .errors import FormatError, reading

_BLANK: Final = " \t\r\n"
_TAB: Final = "\t"
_DELIMITERS: Final = {",": "commas", _TAB: "tabs", ";": "semicolons", "|": "vertical bars"}
"""What separates columns, and how it is called."""


class Placed(NamedTuple):
    """A value of the file."""

    place: str
    """For messages, with the file's name."""
    value: Any
    replaced: int = 0
    """Characters of it that the decoding replaced."""


class _TwiceError(ValueError):
    """An object has a field twice; JSON readers keep one of the two, silently."""


def read(detected: Detected, errors: text.Errors = "strict") -> Iterator[Placed]:
    """All records, in order. Raises `FormatError` at the first that cannot be read."""
    if detected.form in (Form.PARQUET, Form.ARROW):
        rows = tables.parquet_rows(detected.path) if detected.form is Form.PARQUET else tables.arrow_rows(detected.path)
        yield from (Placed(f"row {number} of {detected.path}", row) for number, row in rows)
        return
    with reading(detected.path), open_plain(detected.path, detected.compression) as stream:
        if detected.form is Form.CSV:
            yield from _csv(detected, text.lines(stream, detected.path, detected.encoding, errors))
        elif detected.is_lines:
            yield from _lines(detected.path, text.lines(stream, detected.path, detected.encoding, errors))
        else:
            pieces = list(text.chunks(stream, detected.path, detected.encoding, errors))
            whole = "".join(piece.text for piece in pieces).lstrip("\ufeff")
            yield from _values(detected.path, whole, sum(piece.replaced for piece in pieces))


def parse(line: str, place: str) -> Any:
    """One JSON value. Raises `FormatError`."""
    with _json(place):
        return json.loads(line, object_pairs_hook=_unique)


def field(value: Any, name: str, place: str) -> str:
    """The text in a field of a record. Raises `FormatError`."""
    if not isinstance(value, dict):
        raise FormatError(f"{place} is {kind(value)}, not a record with fields.")
    if name not in value:
        names = ", ".join(map(repr, list(value)[:10])) or "none"
        raise FormatError(f"{place} has no field {name!r}; its fields: {names}.")
    if not isinstance(value[name], str):
        raise FormatError(f"the field {name!r} in {place} is {kind(value[name])}, not text.")
    return str(value[name])


def kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(f"the field {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return value


@contextmanager
def _json(place: str, path: Path | None = None) -> Iterator[None]:
    """`path`: of a text that is the whole file; the parser's own line is the file's."""
    try:
        yield
    except json.JSONDecodeError as problem:
        where = place if path is None else f"line {problem.lineno} of {path}"
        raise FormatError(f"{where} is not JSON: {problem.msg} (column {problem.colno}).") from None
    except RecursionError:
        raise FormatError(f"{place} is nested too deeply.") from None
    except ValueError as problem:  # a field twice, a number of more digits than Python reads
        raise FormatError(f"{place}: {problem}.") from None


def _lines(path: Path, lines: Iterable[tuple[int, text.Text]]) -> Iterator[Placed]:
    for number, (line, replaced) in lines:
        if content := line.lstrip("\ufeff" + _BLANK if number == 1 else _BLANK):
            place = f"line {number} of {path}"
            yield Placed(place, parse(content.rstrip(_BLANK), place), replaced)


def _values(path: Path, whole: str, replaced: int) -> Iterator[Placed]:
    """The items of a list, or values one after the other; `replaced` is told with the first."""
    decoder, at = json.JSONDecoder(object_pairs_hook=_unique), _next(whole, 0)
    is_list, number, counted = whole[at : at + 1] == "[", 1, 0
    at = _next(whole, at + 1) if is_list else at
    while at < len(whole) and not (is_list and whole[at] == "]"):
        number, counted = number + whole.count("\n", counted, at), at
        place = f"line {number} of {path}"
        with _json(place, path):
            value, at = decoder.raw_decode(whole, at)
        yield Placed(place, value, replaced)
        replaced, at = 0, _next(whole, at)
        if is_list and whole[at : at + 1] == ",":
            at = _next(whole, at + 1)
        elif is_list and whole[at : at + 1] != "]":
            number += whole.count("\n", counted, at)
            raise FormatError(f"line {number} of {path} is not JSON: the list has no end, or a comma is missing.")
    if is_list and (at >= len(whole) or _next(whole, at + 1) < len(whole)):
        raise FormatError(f"{path} is not JSON: the list has no end, or something follows it.")


def _check_header(header: list[str], place: str, delimiter: str) -> None:
    """Raise `FormatError` for columns that could not be told apart, or that another character separates."""
    if len(set(header)) < len(header):
        raise FormatError(f"{place}: the header has a column twice.")
    other = next((sign for sign in _DELIMITERS if sign != delimiter and sign in header[0]), None)
    if len(header) == 1 and other is not None:
        expected, actual = _DELIMITERS[delimiter], _DELIMITERS[other]
        remedy = f"Save it with {expected}{', or as .tsv' if other == _TAB else ''}."
        raise FormatError(f"{place}: columns are separated by {actual}, not by {expected}.", remedy)


def _next(whole: str, at: int) -> int:
    """The next character that is not blank."""
    while at < len(whole) and whole[at] in _BLANK:
        at += 1
    return at


def _csv(detected: Detected, lines: Iterator[tuple[int, text.Text]]) -> Iterator[Placed]:
    """Yield the records of a table with a header. A quoted field may have several lines."""
    csv.field_size_limit(sys.maxsize)
    replaced = [0]

    def counted() -> Iterator[str]:
        for number, line in lines:
            replaced[0] += line.replaced
            yield (line.text.lstrip("\ufeff") if number == 1 else line.text) + "\n"

    reader = csv.reader(counted(), delimiter=detected.delimiter, strict=True)
    header: list[str] | None = None
    while True:
        place = f"line {reader.line_num + 1} of {detected.path}"
        try:
            row = next(reader, None)
        except csv.Error as problem:
            raise FormatError(f"{place} is not CSV: {problem}.") from None
        if row is None:
            return
        if header is None:
            header = row
            _check_header(header, place, detected.delimiter)
        elif row:
            if len(row) != len(header):
                raise FormatError(f"{place} has {len(row)} columns, the header {len(header)}.")
            yield Placed(place, dict(zip(header, row, strict=True)), replaced[0])
            replaced[0] = 0
