"""Bytes to text, strictly: a byte that does not belong to the encoding is reported with its line."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, Literal, NamedTuple

from .errors import FormatError, reading

Errors = Literal["strict", "replace"]
"""What happens to bytes that do not belong to the encoding, and to halves of surrogate pairs."""

BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""UTF-32 before UTF-16: the mark of the one begins with that of the other."""
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_CHUNK: Final = 1 << 20
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_REMEDY: Final = "Give its encoding with --encoding, or count and replace such bytes with --encoding-errors replace."


class Text(NamedTuple):
    """Decoded, with the number of characters that were replaced."""

    text: str
    replaced: int


def by_mark(head: bytes) -> str:
    """The encoding that a byte order mark names; empty without one."""
    return next((name for mark, name in BOMS if head.startswith(mark)), "")


def is_encoding(name: str) -> bool:
    """Return whether it is the name of a text encoding."""
    try:
        codecs.getincrementaldecoder(name)
        b"a".decode(name, "ignore")
    except (LookupError, ValueError):
        return False
    return True


def decode(raw: bytes, path: Path, encoding: str, errors: Errors, *, first_line: int = 1) -> Text:
    """`first_line`: the number of the first line of `raw` in the file. Raises `FormatError`."""
    try:
        return Text(raw.decode(encoding), 0)
    except UnicodeDecodeError as problem:
        if errors == "strict":
            raise _bad_byte(problem, path, encoding, first_line) from None
    text = raw.decode(encoding, "replace")
    return Text(text, text.count(REPLACEMENT) - raw.decode(encoding, "ignore").count(REPLACEMENT))


def chunks(stream: IO[bytes], path: Path, encoding: str, errors: Errors) -> Iterator[Text]:
    """All of a stream, in pieces of about a megabyte. Raises `FormatError`."""
    strict, line = codecs.getincrementaldecoder(encoding)(), 1
    lax = codecs.getincrementaldecoder(encoding)("replace") if errors == "replace" else None
    while True:
        with reading(path):
            raw = stream.read(_CHUNK)
        if lax is not None:
            text = lax.decode(raw, final=not raw)
            own = raw.count(REPLACEMENT.encode()) if encoding.startswith("utf-8") else 0
            piece = Text(text, max(0, text.count(REPLACEMENT) - own))
        else:
            try:
                piece = Text(strict.decode(raw, final=not raw), 0)
            except UnicodeDecodeError as problem:
                raise _bad_byte(problem, path, encoding, line) from None
        line += piece.text.count("\n")
        if piece.text:
            yield piece
        if not raw:
            return


def lines(stream: IO[bytes], path: Path, encoding: str, errors: Errors) -> Iterator[tuple[int, Text]]:
    """Each line with its number from 1, without its end. Raises `FormatError`."""
    number, rest, replaced = 1, "", 0
    for chunk in chunks(stream, path, encoding, errors):
        *whole, last = (rest + chunk.text).split("\n") if "\n" in chunk.text else (rest + chunk.text,)
        replaced += chunk.replaced
        for line in whole:
            yield number, Text(line, replaced)
            number, replaced = number + 1, 0
        rest = last
    if rest:
        yield number, Text(rest, replaced)


def without_surrogates(text: str, place: str, errors: Errors) -> Text:
    r"""JSON's `\ud83d` without its other half is no character. Raises `FormatError`; `place` names file and line."""
    if (surrogate := _SURROGATE.search(text)) is None:
        return Text(text, 0)
    if errors == "strict":
        raise FormatError(
            f"{place} has half of a surrogate pair, \\u{ord(surrogate[0]):04x}, which is no character.",
            "Write the whole character in the file.",
        )
    return Text(*_SURROGATE.subn(REPLACEMENT, text))


def _bad_byte(problem: UnicodeDecodeError, path: Path, encoding: str, first_line: int) -> FormatError:
    before = problem.object[: problem.start].decode(encoding, "ignore")
    number = first_line + before.count("\n")
    name = "UTF-8" if encoding.startswith("utf-8") else encoding
    byte = problem.object[problem.start]
    return FormatError(f"line {number} of {path} is not {name}: byte 0x{byte:02x}, {problem.reason}.", _REMEDY)
