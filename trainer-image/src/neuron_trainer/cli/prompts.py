"""Prompts of `neuron-train generate`: from options, a file with one a line, records, or standard input."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from neuron_api.findings.finding import error
from neuron_trainer.errors import InputError

STDIN: Final = "-"
_RECORDS: Final = (".jsonl", ".ndjson")
_FIELDS: Final = ("prompt", "input", "instruction")
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
        return _lines(sys.stdin.read().splitlines())
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except OSError as problem:
        raise InputError([error("", f"--prompts: {file}: {problem.strerror}.", _REMEDY)]) from None
    except UnicodeDecodeError:
        raise InputError([error("", f"--prompts: {file} is not UTF-8 text.", "Save it as UTF-8.")]) from None
    return _fields(file, lines) if Path(file).suffix.lower() in _RECORDS else _lines(lines)


def _lines(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if line.strip())


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
    texts = [record[name] for name in _FIELDS if isinstance(record, dict) and isinstance(record.get(name), str)]
    if not texts:
        remedy = f"Each record needs a text as {', '.join(_FIELDS[:-1])} or {_FIELDS[-1]}."
        raise InputError([error("", f"{place} has no prompt.", remedy)])
    return str(texts[0])
