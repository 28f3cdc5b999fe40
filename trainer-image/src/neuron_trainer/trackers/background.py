"""A tracker behind a queue and a thread: training hands over and goes on, whatever the tracker does.

While a tracker is down, steps wait in the queue and are sent when it answers again; what no longer fits is counted, and
so is what it refuses. The log has one warning of each, and one line when it is there again.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Final, Protocol

from neuron_api import redaction

log = logging.getLogger(__name__)

MAX_WAITING: Final = 10_000
"""Logged steps that wait for a tracker: 4 MB."""
RETRY_SECONDS: Final = 15.0
CLOSE_SECONDS: Final = 20.0
"""For which the end of a run waits, all in all."""
FAILED_SECONDS: Final = 1.0
"""The same for a run that has failed: its restart waits for it, in every pod."""
CLOSING_RETRY_SECONDS: Final = 1.0
"""While the end of a run waits."""
_POLL: Final = 0.2
_MAX_CHARACTERS: Final = 300
"""Of what a library says."""


@dataclass(frozen=True, slots=True)
class Point:
    """The values of one step."""

    step: int
    time: float
    """Unix time."""
    values: Mapping[str, float]


class RefusalError(Exception):
    """A tracker will never take this, so it is not sent again."""


class TrackerRun(Protocol):
    """One run of a tracker; all methods are called by one thread, and may raise anything."""

    @property
    def name(self) -> str:
        """Return the tracker's name, for the log."""

    @property
    def max_values(self) -> int:
        """Return how many values one call of `send` may have; a single step may have more."""

    def open(self) -> None:
        """Begin the run, or go on with it. Called again where it has raised."""

    def send(self, points: Sequence[Point]) -> None:
        """Send steps. Called again with the same ones where it has raised, unless that was `RefusalError`."""

    def close(self, *, succeeded: bool) -> None:
        """Say that the run is over."""


class BackgroundTracker:
    """Calls a `TrackerRun` from a thread of its own."""

    def __init__(
        self,
        run: TrackerRun,
        *,
        max_waiting: int = MAX_WAITING,
        retry_seconds: float = RETRY_SECONDS,
        close_seconds: float = CLOSE_SECONDS,
        closing_retry_seconds: float = CLOSING_RETRY_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._run, self._clock = run, clock
        self._retry_seconds, self._close_seconds = retry_seconds, close_seconds
        self._closing_retry_seconds = closing_retry_seconds
        self._queue: Queue[Point] = Queue(max_waiting)
        self._next: Point | None = None
        """Taken from the queue, but too much for the request before."""
        self._closing, self._over = Event(), Event()
        self._is_down = self._has_refused = False
        self._succeeded = True
        self._accepted = self._sent = 0
        self._overflow = self._refused = self._unsent = 0
        self._thread = Thread(target=self._work, name=f"tracker {run.name}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Return how many steps did not fit into the queue, were refused, or were left at the end."""
        return self._overflow + self._refused + self._unsent

    def hand_over(self, step: int, values: Mapping[str, float]) -> None:
        """Take a step and return at once."""
        try:
            self._queue.put_nowait(Point(step, self._clock(), dict(values)))
            self._accepted += 1
        except Full:
            self._overflow += 1

    def close(self, *, succeeded: bool) -> None:
        """Wait until everything has been sent, at most `close_seconds`; hardly where the run has failed."""
        if self._closing.is_set():
            return
        self._succeeded = succeeded
        self._closing.set()
        self._thread.join(self._patience())
        self._over.set()
        self._unsent = self._accepted - self._sent
        if self.lost:
            log.warning("%s did not take %d logged steps; they are in metrics.jsonl", self._run.name, self.lost)
        elif self._thread.is_alive():
            log.warning("%s has every logged step, but has not confirmed the end of the run", self._run.name)

    def _patience(self) -> float:
        if self._succeeded:
            return self._close_seconds
        return 0.0 if self._is_down else min(self._close_seconds, FAILED_SECONDS)

    def _work(self) -> None:
        if not self._until_done(self._run.open):
            return
        while points := self._take():
            if not self._deliver(points):
                return
        self._attempt(lambda: self._run.close(succeeded=self._succeeded))

    def _take(self) -> list[Point]:
        """Wait for steps, and return as many as one request may have; none where the run is over."""
        points, size = list[Point](), 0
        while (point := self._next or self._get(wait=not points)) is not None:
            self._next, size = point, size + len(point.values)
            if points and size > self._run.max_values:
                break
            points.append(point)
            self._next = None
        return points

    def _get(self, *, wait: bool) -> Point | None:
        while True:
            is_last = self._closing.is_set()  # before the look into the queue: nothing is handed over after it
            try:
                return self._queue.get_nowait() if is_last or not wait else self._queue.get(timeout=_POLL)
            except Empty:
                if is_last or not wait:
                    return None

    def _deliver(self, points: Sequence[Point]) -> bool:
        """Send steps; those that are refused are found one by one. False where no time is left."""
        try:
            if not self._until_done(lambda: self._run.send(points)):
                return False
        except RefusalError as problem:
            if len(points) > 1:
                return all(self._deliver([point]) for point in points)
            if not self._has_refused:
                self._has_refused = True
                log.warning("%s refuses step %d: %s", self._run.name, points[0].step, one_line(problem))
            if not self._over.is_set():  # else it is among those that were left
                self._refused += 1
        self._sent += len(points)
        return True

    def _until_done(self, call: Callable[[], None]) -> bool:
        """Try again until it succeeds; False where the run is over and no time is left."""
        while not self._attempt(call):
            if self._closing.is_set():
                self._over.wait(min(self._retry_seconds, self._closing_retry_seconds))
            else:
                self._closing.wait(self._retry_seconds)
            if self._over.is_set():
                return False
        return True

    def _attempt(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except RefusalError:
            raise
        except Exception as problem:  # whatever a tracker's library raises, training goes on
            if not self._is_down:
                self._is_down = True
                log.warning("%s cannot be reached, training goes on without it: %s", self._run.name, one_line(problem))
            return False
        if self._is_down:
            self._is_down = False
            log.info("%s can be reached again", self._run.name)
        return True


def one_line(problem: Exception) -> str:
    """Return what a library says, for the log: without secrets."""
    text = " ".join(redaction.message(str(problem), os.environ).split())
    kind = "" if isinstance(problem, RefusalError) else f"{type(problem).__name__}: "
    return kind + text[:_MAX_CHARACTERS]
