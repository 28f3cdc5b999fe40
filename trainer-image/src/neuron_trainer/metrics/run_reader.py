"""The history of a run for who looks again and again: each look reads what was appended, and keeps a bounded part.

`history` reads everything, for who needs every step. Here a run of any length costs a look at three sizes, the new
lines, and the memory of a thinned series. Everything is read again where a file is no longer the one that was read, and
where a start went back behind lines that are kept.
"""

import math
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from neuron_api import contract
from neuron_api.thinning import MAX_POINTS, ThinnedSeries

from .history import STARTS_FILE, VALIDATIONS_FILE, Line, Record, StartRecord, StepMetrics, ValidationMetrics, parse

MAX_LINE: Final = 1_000_000
"""Bytes; what is longer is no line of a trainer."""
_RECENT: Final = 20
"""Newest steps that are kept whole, for the pace."""


@dataclass(frozen=True, slots=True)
class RunLines:
    """A run as its files are at one moment."""

    steps: tuple[StepMetrics, ...] = ()
    """Thinned out where there are more than `thinning.MAX_POINTS`."""
    logged: int = 0
    """How many steps were logged."""
    recent: tuple[StepMetrics, ...] = ()
    """The newest ones, not thinned out."""
    validations: tuple[ValidationMetrics, ...] = ()
    """Thinned out as steps are."""
    starts: tuple[StartRecord, ...] = ()
    unreadable: int = 0
    """Lines of the metrics that say nothing."""


class RunReader:
    """Reads the files of one log directory; for many threads."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, Lock()
        self._state = _State(folder)
        self._lines = RunLines()

    def read(self) -> RunLines:
        """Return the run as it is now: the same object where nothing has changed. Raises `OSError`."""
        with self._lock:
            try:
                while not self._state.advance():
                    self._state = _State(self._folder)
            except OSError:
                self._state = _State(self._folder)
                raise
            if self._state.has_news:
                self._lines, self._state.has_news = self._state.lines(), False
            return self._lines


class _State:
    """What was read of the files up to some place in each."""

    def __init__(self, folder: Path) -> None:
        self._files = [Tail(folder / name) for name in (contract.METRICS_FILE, VALIDATIONS_FILE, STARTS_FILE)]
        self._steps = ThinnedSeries[StepMetrics](lambda line: line.step, lambda line: line.loss, MAX_POINTS)
        self._validations = ThinnedSeries[ValidationMetrics](lambda line: line.step, lambda line: line.val_loss)
        self._recent: deque[StepMetrics] = deque(maxlen=_RECENT)
        self._starts: list[StartRecord] = []
        self._limits: dict[int, float] = {}
        """By the number of a start: the step to which its lines count."""
        self._unreadable = 0
        self.has_news = True

    def advance(self) -> bool:
        """Read what was appended; False where everything has to be read again.

        A start writes its record before its lines. So the sizes of the others are taken before the starts are read: no
        line is read without the start that wrote it.
        """
        steps, validations, starts = self._files
        if not (steps.look() and validations.look() and starts.look()):
            return False
        for start in filter(None, _records(StartRecord, starts)):
            if any(line is not None and line.step > start.step for line in (self._steps.last, self._validations.last)):
                return False
            self._starts.append(start)
            self._limits.clear()
            self.has_news = True
        for step in self._current(self._counted(_records(StepMetrics, steps))):
            self._steps.add(step)
            self._recent.append(step)
        for validation in self._current(filter(None, _records(ValidationMetrics, validations))):
            self._validations.add(validation)
        return True

    def lines(self) -> RunLines:
        """Return what is kept."""
        return RunLines(
            steps=tuple(self._steps.lines()),
            logged=self._steps.count,
            recent=tuple(self._recent),
            validations=tuple(self._validations.lines()),
            starts=tuple(self._starts),
            unreadable=self._unreadable,
        )

    def _counted(self, lines: Iterator[Line | None]) -> Iterator[Line]:
        for line in lines:
            if line is not None:
                yield line
            else:
                self._unreadable, self.has_news = self._unreadable + 1, True

    def _current(self, lines: Iterator[Line]) -> Iterator[Line]:
        """Yield the lines that no later start went back behind (`history.current` says why)."""
        for line in lines:
            if line.start not in self._limits:
                later = (start.step for start in self._starts if start.start > line.start)
                self._limits[line.start] = min(later, default=math.inf)
            if line.step <= self._limits[line.start]:
                self.has_news = True
                yield line


class Tail:
    """A file that is appended to, and how far it was read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = self._size = 0
        self._file: tuple[int, int] | None = None
        """Device and number of the file that was read."""
        self._newest = b""
        """The line before the offset."""

    def look(self) -> bool:
        """Take the size as it is now; return False where the file is not the one that was read, or was cut."""
        try:
            state = self._path.stat()
        except FileNotFoundError:
            self._size = 0
            return self._offset == 0
        is_same = self._file in (None, (state.st_dev, state.st_ino)) and state.st_size >= self._offset
        self._file, self._size = (state.st_dev, state.st_ino), state.st_size
        return is_same and self._ends_as_before()

    def new_lines(self) -> Iterator[bytes]:
        """Yield the whole lines up to the size that was taken; one that is being written is left for the next look."""
        if self._offset >= self._size:
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while file.tell() < self._size:
                line = file.readline(MAX_LINE)
                if not line.endswith(b"\n") and len(line) < MAX_LINE:
                    return
                self._offset, self._newest = file.tell(), line
                yield line

    def _ends_as_before(self) -> bool:
        """Return whether the line that was read last is still where it was: a file may have been written anew."""
        if self._size == self._offset:
            return True
        with self._path.open("rb") as file:
            file.seek(self._offset - len(self._newest), os.SEEK_SET)
            return file.read(len(self._newest)) == self._newest


def _records(kind: type[Record], tail: Tail) -> Iterator[Record | None]:
    """Yield a record for each line; None for one that is none."""
    return (parse(kind, text) for text in tail.new_lines())
