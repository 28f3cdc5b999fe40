"""Files of records with `input` and `output`, or Alpaca's `instruction`, `input` and `output`."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple

from neuron_api.findings.finding import error
from neuron_trainer.data.formats import records, text
from neuron_trainer.data.formats.detection import detect
from neuron_trainer.data.formats.errors import FormatError
from neuron_trainer.data.paths import expanded
from neuron_trainer.errors import InputError

log = logging.getLogger(__name__)

FORM: Final = (
    'Each record is {"input": text, "output": text}, or Alpaca\'s {"instruction": text, "input": text, "output": text}.'
)
_USED: Final = ("instruction", "input", "output")
_OTHERS: Final = {
    "messages": "chat messages are not supported", "conversations": "chat messages are not supported",
    "chosen": "preference pairs are not records of fine-tuning",
    "prompt": "rename prompt to input", "question": "rename question to input", "query": "rename query to input",
    "completion": "rename completion to output", "response": "rename response to output",
    "answer": "rename answer to output", "text": "plain text is for data prepare",
}  # fmt: skip
"""Fields of other layouts, and what to say of them."""
_FEW: Final = 8


class Record(NamedTuple):
    """What is asked and what shall be answered."""

    input: str
    output: str


@dataclass(frozen=True, slots=True)
class Records:
    """Of a file."""

    records: list[Record]
    unused: Mapping[str, int]
    """Fields that nothing reads, with the number of records that have them."""
    instructed: int
    """Records with an instruction."""

    def __str__(self) -> str:
        """What a user must know about how the file was read; empty where that is plain."""
        parts = []
        if self.instructed:
            parts.append(f"in {self.instructed} records the question is `instruction`, a line end and `input`")
        if self.unused:
            shown = ", ".join(f"{name} (in {count})" for name, count in list(self.unused.items())[:_FEW])
            more = len(self.unused) - _FEW
            parts.append(f"fields that are not used: {shown}{f' and {more} more' if more > 0 else ''}")
        return "; ".join(parts)


def fault(key: str, problem: FormatError) -> InputError:
    """As the launcher reports it: the options that a remedy may name are those of `data prepare`."""
    remedy = problem.remedy if "--" not in problem.remedy else "Save the file as UTF-8."
    return InputError([error(key, problem.message, remedy or FORM)])


def read(key: str, path: str, limit: int | None) -> Records:
    """The first `limit` records, or all; raises `InputError` with the place of the first that is none."""
    file, found = expanded(path), Counter[str]()
    try:
        each = [_record(one, found) for one in islice(_placed(key, path), limit)]
    except FormatError as problem:
        raise fault(key, problem) from None
    if not each:
        raise InputError([error(key, f"{file} has no records.", FORM)])
    instructed = found.pop("instruction", 0)
    return Records(each, {name: count for name, count in found.items() if name not in _USED}, instructed)


def _placed(key: str, path: str) -> Iterator[records.Placed]:
    detected = detect(expanded(path), is_records=True)
    log.info("%s: %s: %s", key, path, detected)
    return records.read(detected)


def _record(placed: records.Placed, found: Counter[str]) -> Record:
    """Counts the fields, empty ones left out."""
    place, value, _ = placed
    if isinstance(value, dict) and (hints := [said for name, said in _OTHERS.items() if name in value]):
        names = ", ".join(map(repr, value))
        if "output" not in value or not {"input", "instruction"} & set(value):
            raise FormatError(f"{place} has the fields {names}: {'; '.join(hints)}.", FORM)
    asked = _question(value, place)
    answer = _text(value, "output", place)
    found.update(name for name, one in value.items() if one not in (None, ""))
    return Record(asked, answer)


def _question(value: Any, place: str) -> str:
    """`instruction` and `input`, whichever there are."""
    if not isinstance(value, dict) or value.get("instruction") is None:
        return _text(value, "input", place)
    instruction = _text(value, "instruction", place)
    context = _text(value, "input", place) if value.get("input") is not None else ""
    return f"{instruction}\n{context}" if context else instruction


def _text(value: Any, name: str, place: str) -> str:
    return text.without_surrogates(records.field(value, name, place), place, "strict").text
