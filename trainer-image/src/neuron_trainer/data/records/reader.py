"""All records of a file, and what a user should know of how they were read."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from neuron_api.findings.finding import error
from neuron_trainer.data.formats.errors import FormatError
from neuron_trainer.errors import InputError

from .files import RecordFiles
from .layouts import fields, preferences, tuning
from .recipe import Recipe
from .report import Report

_MAX_FIELDS: Final = 8
"""Unused fields that are listed by name."""
_EMPTY: Final[tuple[Any, ...]] = (None, "", [], {})


def fault(key: str, problem: FormatError, recipe: Recipe) -> InputError:
    """Return the error as the launcher reports it: options that a remedy may name are those of `data prepare`."""
    remedy = problem.remedy if "--" not in problem.remedy else "Save the file as UTF-8."
    return InputError([error(key, problem.message, remedy or _form(recipe))])


def read(files: RecordFiles, key: str, limit: int | None, recipe: Recipe, report: Report) -> list[Any]:
    """Return the first `limit` records, or all, and add what a user should know to the report.

    Raises:
        InputError: the place of the first record that cannot be read; or there is none.
    """
    read_one = preferences.read if recipe.is_pair else tuning.read
    unused, read_records = Counter[str](), []
    try:
        for placed in islice(files.records(), limit):
            record, used = read_one(placed)
            read_records.append(record)
            if record.is_empty:
                report.add("empty_answers", record.place)
            if "instruction" in used and placed.value.get("instruction"):
                report.add("instructions", record.place)
            unused.update(name for name, value in placed.value.items() if value not in _EMPTY and name not in used)
    except FormatError as problem:
        raise fault(key, problem, recipe) from None
    if not read_records:
        raise InputError([error(key, f"{files.path} has no records.", _form(recipe))])
    report.counts["records"] = len(read_records)
    report.notes += _notes(unused, report)
    return read_records


def _form(recipe: Recipe) -> str:
    return fields.PAIRS if recipe.is_pair else fields.TUNING


def _notes(unused: Mapping[str, int], report: Report) -> Iterator[str]:
    if instructions := report.counts.get("instructions", 0):
        yield f"in {instructions} records the question is `instruction`, a line end and `input`"
    if unused:
        shown = ", ".join(f"{name} (in {count})" for name, count in list(unused.items())[:_MAX_FIELDS])
        more = len(unused) - _MAX_FIELDS
        yield f"fields that are not used: {shown}{f' and {more} more' if more > 0 else ''}"
