"""What a run leaves of its steps in the log directory, a line each: `metrics.jsonl` (logged steps), `validations.jsonl`
and `starts.jsonl`. The first two have each step once, in order, whatever happened in between. A number that is not
finite is null in them, and NaN where it is read again.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from neuron_api import contract

from . import json_text
from .handoff import replace

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


@dataclass(frozen=True, slots=True)
class ValidationMetrics:
    """A validation after `step`."""

    step: int
    val_loss: float
    time: float


@dataclass(frozen=True, slots=True)
class StartRecord:
    """A start of the run: `step` finished steps were taken up, `steps_lost` are done again."""

    step: int
    steps_lost: int
    time: float
    resume: tuple[str, ...] | None = None
    """How the configuration differed from the checkpoint's, a line each; None where nothing was resumed."""


Entry = StepMetrics | ValidationMetrics | StartRecord


@dataclass(frozen=True, slots=True)
class History:
    """All that the files tell."""

    steps: tuple[StepMetrics, ...]
    validations: tuple[ValidationMetrics, ...]
    starts: tuple[StartRecord, ...]


class MetricsFile:
    """Appended by global rank 0 only. `path` is that of metrics.jsonl, the other two lie beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._validations, self._starts = path.with_name(VALIDATIONS_FILE), path.with_name(STARTS_FILE)

    def append(self, entry: Entry) -> None:
        """One write of one line, so that a reader never sees half of one."""
        files = {StepMetrics: self.path, ValidationMetrics: self._validations, StartRecord: self._starts}
        line = json_text.dumps({k: v for k, v in asdict(entry).items() if v is not None})
        with files[type(entry)].open("a") as file:
            file.write(line + "\n")

    def last_step(self) -> int:
        """The newest step in the file; 0 when there is none."""
        return max((line["step"] for _, line in _lines(self.path)), default=0)

    def drop_after(self, step: int) -> None:
        """Remove lines of steps that will be done again, and a torn last line, atomically."""
        for path in (self.path, self._validations):
            if path.exists():
                replace(path, "".join(f"{text}\n" for text, line in _lines(path) if line["step"] <= step))

    def history(self) -> History:
        """Everything; empty where nothing is, tolerant of a last line that is being written."""
        return History(
            steps=tuple(_read(StepMetrics, self.path)),
            validations=tuple(_read(ValidationMetrics, self._validations)),
            starts=tuple(_read(StartRecord, self._starts)),
        )


def of_run(folder: Path) -> MetricsFile:
    """Of a log directory."""
    return MetricsFile(folder / contract.METRICS_FILE)


def _read(kind: type[Any], path: Path) -> Iterator[Any]:
    known = kind.__dataclass_fields__
    for _, line in _lines(path):
        try:
            yield kind(**{name: math.nan if value is None else value for name, value in line.items() if name in known})
        except TypeError:
            continue  # of another release, with other fields


def _lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    if not path.exists():
        return []
    found = []
    for text in path.read_text().splitlines():
        try:
            line = json.loads(text)
            line["step"] = int(line["step"])
        except (ValueError, KeyError, TypeError):
            continue  # the process died in the middle of the write
        found.append((text, line))
    return found
