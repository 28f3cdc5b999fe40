"""All records of a file, and what a user should know of how they were read."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from neuron_api.findings.finding import error
from neuron_trainer.data.formats.errors import FormatError
from neuron_trainer.data.formats.records import Placed
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
    unused: Counter[str] = Counter()
    try:
        records = [_read(placed, recipe, report, unused) for placed in islice(files.records(), limit)]
    except FormatError as problem:
        raise fault(key, problem, recipe) from None
    if not records:
        raise InputError([error(key, f"{files.path} has no records.", _form(recipe))])
    report.counts["records"] = len(records)
    report.notes += _notes(unused, report)
    return records


def _read(placed: Placed, recipe: Recipe, report: Report, unused: Counter[str]) -> Any:
    """Return one record; count it, and its fields that are not used."""
    record, used = preferences.read(placed) if recipe.is_pair else tuning.read(placed)
    if record.is_empty:
        report.add("empty_answers", record.place)
    if "instruction" in used and placed.value.get("instruction"):
        report.add("instructions", record.place)
    unused.update(name for name, value in placed.value.items() if value not in _EMPTY and name not in used)
    return record


def _form(recipe: Recipe) -> str:
    return fields.PAIRS if recipe.is_pair else fields.TUNING


def _notes(unused: Mapping[str, int], report: Report) -> Iterator[str]:
    if instructions := report.counts.get("instructions", 0):
        yield f"in {instructions} records the question is `instruction`, a line end and `input`"
    if unused:
        shown = ", ".join(f"{name} (in {count})" for name, count in list(unused.items())[:_MAX_FIELDS])
        more = len(unused) - _MAX_FIELDS
        yield f"fields that are not used: {shown}{f' and {more} more' if more > 0 else ''}"
