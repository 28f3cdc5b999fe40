"""The history of a run in its log directory, a line each: `metrics.jsonl` (logged steps), `validations.jsonl` and
`starts.jsonl`. A number that is not finite is null in them, and NaN where it is read again.

The files are only ever appended to: no start changes what is written. Steps that are done again have a second line,
with the number of the start that wrote it; `current` says which lines are those of the run as it is now.

`folders_by_name` tells runs apart that are shown side by side.
"""

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from neuron_api import contract, metrics
from neuron_trainer.storage import files as json_text
from neuron_trainer.storage.files import naming

_VERSION: Final = re.compile(r"\d{4}-\d\d-\d\d|version_\d+|[0-9a-f]{8}-[0-9a-f]{4}")
"""Last part of a log directory that says when or which time a run was started, and not which run it is."""


def folders_by_name(folders: Sequence[Path]) -> dict[str, Path]:
    """Return log directories (or their metrics.jsonl) by the last parts of the path that distinguish them, and by the
    run before a date."""
    runs = [path.parent if path.name == contract.METRICS_FILE else path for path in folders]
    runs = list(dict.fromkeys(path.absolute() for path in runs))
    for depth in range(1, max(len(path.parts) for path in runs) + 1):
        names = ["/".join(path.parts[-depth:]) for path in runs]
        has_version = any(_VERSION.match(name) for name in names) and depth == 1
        if len(set(names)) == len(names) and not has_version:
            break
    return dict(zip(names, runs, strict=True))


VALIDATIONS_FILE: Final = "validations.jsonl"
STARTS_FILE: Final = "starts.jsonl"


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """What is known of a finished step; `step` counts from 1, `lr` is the rate that was used in it."""

    step: int
    loss: float
    lr: float
    gradient_norm: float
    consumed_samples: int
    tokens_per_second: float
    time: float
    """Unix time when it was finished."""
    parameter_norm: float | None = None
    mfu: float | None = None
    """Share of the devices' peak; None where that is not known."""
    nonfinite_steps: int | None = None
    """Steps of this start, up to this one, whose gradient was not finite; None: not one."""
    cpu_fallbacks: int | None = None
    """Operators of the steps that ran on the CPU in place of the device; None: not one, or it is not known."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Of the objective, by name (`neuron_api.metrics`); in the file each is a field of the line."""
    start: int = 0
    """Number of the start that did this step, where it was not the run's first; else 0, and not written."""


@dataclass(frozen=True, slots=True)
class ValidationMetrics:
    """A validation after `step`."""

    step: int
    val_loss: float
    time: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    """As of a step; the names begin with `val_`."""
    start: int = 0
    """As of a step."""


@dataclass(frozen=True, slots=True)
class StartRecord:
    """A start of the run: `step` finished steps were taken up, `steps_lost` are done again."""

    step: int
    steps_lost: int
    time: float
    resume: tuple[str, ...] | None = None
    """How the configuration differed from the checkpoint's, a line each; None where nothing was resumed."""
    records: Mapping[str, Mapping[str, int]] | None = None
    """By part of the data, how many records there are, were truncated or dropped; None for other data."""
    start: int = 0
    """Its number, from 2; the first has none."""
    source: str | None = None
    """Where the step came from (`ResumeSource`); None where none was resumed, and in files of older releases."""


_METRICS: Final = frozenset(f"{prefix}{name}" for prefix in ("", "val_") for name in metrics.NAMES)
Line = TypeVar("Line", StepMetrics, ValidationMetrics)
Record = TypeVar("Record", StepMetrics, ValidationMetrics, StartRecord)
Entry = StepMetrics | ValidationMetrics | StartRecord
_PLAIN: Final = (int, float, type(None))
_FIELDS: Final = {
    kind: (
        tuple(field.name for field in fields(kind) if field.type is int),
        tuple(field.name for field in fields(kind) if field.type in (float, int | None, float | None)),
    )
    for kind in (StepMetrics, ValidationMetrics, StartRecord)
}
"""By kind of line the fields that are counts, and those that are other numbers."""
_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class History:
    """All that the files tell: of each step what was done last."""

    steps: tuple[StepMetrics, ...]
    validations: tuple[ValidationMetrics, ...]
    starts: tuple[StartRecord, ...]


class MetricsFile:
    """Appended by global rank 0 only. `path` is that of metrics.jsonl, the other two lie beside it."""

    def __init__(self, path: Path, guard: Callable[[], None] = lambda: None) -> None:
        """`guard` raises where the directory is no longer the run's."""
        self.path, self._guard = path, guard
        self._validations, self._starts = path.with_name(VALIDATIONS_FILE), path.with_name(STARTS_FILE)
        self._start = 0

    def begin(self, record: StartRecord) -> None:
        """A start of the run: the lines that follow are its own."""
        earlier = list(_read(StartRecord, self._starts))
        self._start = 1 + max([len(earlier), *(start.start for start in earlier)]) if earlier else 0
        self._guard()
        for path in (self.path, self._validations, self._starts):
            _end_line(path)
        self.append(record)

    def append(self, entry: Entry) -> None:
        """One write of one line, so that a reader never sees half of one."""
        self._guard()
        files = {StepMetrics: self.path, ValidationMetrics: self._validations, StartRecord: self._starts}
        values = asdict(replace(entry, start=self._start))
        values |= values.pop("metrics", {})
        line = json_text.json_dumps({k: v for k, v in values.items() if v is not None and (k, v) != ("start", 0)})
        path = files[type(entry)]
        with naming(path), path.open("a") as file:
            file.write(line + "\n")

    def last_step(self) -> int:
        """The newest step of the run as it is now; 0 when there is none."""
        return max((line.step for line in self.history().steps), default=0)

    def history(self) -> History:
        """Everything; empty where nothing is, tolerant of a last line that is being written."""
        starts = tuple(_read(StartRecord, self._starts))
        return History(
            steps=tuple(current(_read(StepMetrics, self.path), starts)),
            validations=tuple(current(_read(ValidationMetrics, self._validations), starts)),
            starts=starts,
        )


def current(lines: Iterable[Line], starts: Sequence[StartRecord]) -> list[Line]:
    """The lines of the run as it is now, by step: each step's last one, and none that a later start went back behind.

    A start that takes up step 4 leaves 5 and 6 of the starts before it undone, whether it comes so far again or not.
    """
    newest: dict[int, Line] = {}
    for line in lines:
        if not any(later.start > line.start and later.step < line.step for later in starts):
            newest[line.step] = line
    return [newest[step] for step in sorted(newest)]


def open_history(folder: Path) -> MetricsFile:
    """Open the metrics of a log directory."""
    return MetricsFile(folder / contract.METRICS_FILE)


def parse(kind: type[Record], text: bytes) -> Record | None:
    """Return what a line says; None for one that says nothing: torn by a kill, damaged, of another release."""
    try:
        line = json.loads(text)
        step = int(line["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    names = kind.__dataclass_fields__
    values = {name: math.nan if value is None else value for name, value in line.items()} | {"step": step}
    own: dict[str, Any] = {name: value for name, value in values.items() if name in names}
    if chosen := {name: value for name, value in values.items() if name in _METRICS}:
        own["metrics"] = chosen
    try:
        record = kind(**own)
    except TypeError:
        return None
    return record if _has_sound_numbers(record) else None


def _has_sound_numbers(record: Entry) -> bool:
    """Return whether numbers are numbers, counts are whole ones, and the time is one of the calendar."""
    counts, numbers = _FIELDS[type(record)]
    values = [getattr(record, name) for name in numbers]
    values += getattr(record, "metrics", {}).values()
    return (
        all(type(getattr(record, name)) is int for name in counts)
        and all(type(value) in _PLAIN for value in values)
        and 0 <= record.time < _END_OF_TIME
    )


def _read(kind: type[Record], path: Path) -> Iterator[Record]:
    if path.exists():
        with path.open("rb") as file:
            yield from (record for text in file if (record := parse(kind, text)) is not None)


def _end_line(path: Path) -> None:
    """A process that died in the middle of a write has left a line without its end: the next one is not glued to it."""
    try:
        with naming(path), path.open("rb+") as file:
            if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n":
                file.write(b"\n")
    except FileNotFoundError:
        return
