"""Prompts of `neuron-train generate`: from options, a file with one a line, records, or standard input."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from neuron_api.findings.finding import error
from neuron_trainer.data.formats.errors import FormatError
from neuron_trainer.data.records.layouts import fields, tuning
from neuron_trainer.errors import InputError

STDIN: Final = "-"
_FIELDS: Final = "Each record needs a text as prompt or input, or an instruction and perhaps its input."
_RECORDS: Final = (".jsonl", ".ndjson")
_REMEDY: Final = "Give --prompt TEXT, --prompts FILE with one prompt a line or JSON lines, or text on standard input."


def collect(options: Sequence[str], file: str | None) -> list[str]:
    """Return the prompts of the options, then those of the file; without both those of standard input. Raises
    `InputError`."""
    if file is None and not options:
        file = STDIN
    prompts = [*options, *(_read(file) if file is not None else ())]
    if not prompts or not all(prompt.strip() for prompt in prompts):
        raise InputError([error("", "there is no prompt, or an empty one.", _REMEDY)])
    return prompts


def _read(file: str) -> Iterator[str]:
    if file == STDIN:
        if sys.stdin.isatty():
            raise InputError([error("", "there is no prompt.", _REMEDY)])
        return _lines(sys.stdin.read().split("\n"))
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").split("\n")  # a text may have other ends of lines
    except OSError as problem:
        raise InputError([error("", f"--prompts: {file}: {problem.strerror}.", _REMEDY)]) from None
    except UnicodeDecodeError:
        raise InputError([error("", f"--prompts: {file} is not UTF-8 text.", "Save it as UTF-8.")]) from None
    return _fields(file, lines) if Path(file).suffix.lower() in _RECORDS else _lines(lines)


def _lines(lines: Iterable[str]) -> Iterator[str]:
    return (line.rstrip("\r") for line in lines if line.strip())


def _fields(file: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield the prompt of each record, or what stands for it in records for fine-tuning."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _prompt(f"{file} line {number}", line)


def _prompt(place: str, line: str) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError([error("", f"{place} is not JSON.", "Write one record a line.")]) from None
    text = _question(record, place) if isinstance(record, dict) else ""
    if not text.strip():
        raise InputError([error("", f"{place} has no prompt.", _FIELDS)])
    return text


def _question(record: Mapping[str, Any], place: str) -> str:
    """Return what is asked, as training reads it."""
    if not {"prompt", *tuning.QUESTION} & set(record):
        return ""
    try:
        return fields.read_text(record, "prompt", place) if "prompt" in record else tuning.question(record, place)
    except FormatError as problem:
        raise InputError([error("", problem.message, _FIELDS)]) from None
