"""Files of records: .jsonl, .json (a list, or a record per line) and .arrow, with `input` and `output`."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from neuron_api.findings import error
from neuron_trainer.data.paths import expanded
from neuron_trainer.errors import InputError

FIELDS: Final = ("input", "output")
_FORM: Final = 'Each record is {"input": text, "output": text}.'


class Record(NamedTuple):
    """What is asked and what shall be answered."""

    input: str
    output: str


def read(key: str, path: str, most: int | None) -> list[Record]:
    """The first `most` records, or all; raises `InputError` with the place of the first that is none."""
    file = expanded(path)
    try:
        found = [_record(key, file, place, one) for place, one in islice(_items(file), most)]
    except OSError as problem:
        raise InputError([error(key, f"{file} cannot be read: {problem.strerror or problem}.")]) from None
    except ValueError as problem:
        raise InputError([error(key, f"{file} is no file of records: {problem}.", _FORM)]) from None
    if not found:
        raise InputError([error(key, f"{file} has no records.", _FORM)])
    return found


def _items(file: Path) -> Iterator[tuple[str, Any]]:
    """Each with its place in the file."""
    if file.suffix == ".arrow":
        yield from _numbered("record", _arrow(file))
        return
    with file.open() as lines:
        if file.suffix == ".json" and lines.read(1) == "[":
            yield from _numbered("record", json.loads(file.read_text()))
            return
        lines.seek(0)
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield f"line {number}", json.loads(line)


def _numbered(word: str, items: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    return ((f"{word} {number}", one) for number, one in enumerate(items, start=1))


def _arrow(file: Path) -> Iterator[Any]:
    """A file that `datasets` or pyarrow wrote, in either of Arrow's forms."""
    import pyarrow as pa
    import pyarrow.ipc

    with pa.memory_map(str(file)) as mapped:
        try:
            table = pa.ipc.open_stream(mapped).read_all()
        except pa.ArrowInvalid:
            table = pa.ipc.open_file(mapped).read_all()
        for batch in table.to_batches():
            yield from batch.to_pylist()


def _record(key: str, file: Path, place: str, found: Any) -> Record:
    values = [found.get(name) if isinstance(found, dict) else None for name in FIELDS]
    if not all(isinstance(value, str) for value in values):
        missing = next(name for name, value in zip(FIELDS, values, strict=True) if not isinstance(value, str))
        raise InputError([error(key, f"{place} of {file} has no text {missing!r}.", _FORM)])
    return Record(*(str(value) for value in values))
