"""A tracker behind a queue and a thread: training hands over and goes on, whatever the tracker does.

While a tracker is down, steps wait in the queue and are sent when it answers again; what no longer fits is counted. The
log has one warning, and one line when it is over.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, Final, Protocol

from neuron_api.config import TrainingConfig

log = logging.getLogger(__name__)

MAX_WAITING: Final = 10_000
"""Logged steps that wait for a tracker: 4 MB."""
RETRY_SECONDS: Final = 15.0
CLOSE_SECONDS: Final = 20.0
"""For which the end of a run waits while nothing is sent."""
_POLL: Final = 0.2


@dataclass(frozen=True, slots=True)
class Point:
    """The values of one step."""

    step: int
    time: float
    """Unix time."""
    values: Mapping[str, float]


class TrackerRun(Protocol):
    """One run of a tracker; all methods are called by one thread, and may raise anything."""

    @property
    def name(self) -> str:
        """Return the tracker's name, for the log."""

    def open(self) -> None:
        """Begin the run, or go on with it. Called again where it has raised."""

    def send(self, point: Point) -> None:
        """Send one step. Called again with the same one where it has raised."""

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
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._run, self._clock = run, clock
        self._retry_seconds, self._close_seconds = retry_seconds, close_seconds
        self._queue: Queue[Point] = Queue(max_waiting)
        self._closing, self._is_open, self._is_down = Event(), False, False
        self._succeeded, self._dropped, self._deadline = True, 0, float("inf")
        self._thread = Thread(target=self._work, name=f"tracker {run.name}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Return how many steps did not fit into the queue, or were left at the end."""
        return self._dropped

    def hand_over(self, step: int, values: Mapping[str, float]) -> None:
        """Take a step and return at once."""
        try:
            self._queue.put_nowait(Point(step, self._clock(), dict(values)))
        except Full:
            self._dropped += 1

    def close(self, *, succeeded: bool) -> None:
        """Wait until everything has been sent; give up where nothing is for `close_seconds`."""
        if self._closing.is_set():
            return
        self._succeeded, self._deadline = succeeded, time.monotonic() + self._close_seconds
        self._closing.set()
        while self._thread.is_alive() and (seconds := self._deadline - time.monotonic()) > 0:
            self._thread.join(seconds)
        self._dropped += self._queue.qsize()
        if self._dropped or self._thread.is_alive():
            log.warning("%s did not take %d logged steps; they are in metrics.jsonl", self._run.name, self._dropped)

    def _work(self) -> None:
        self._until_done(self._open)
        while self._is_open:
            try:
                point = self._queue.get(timeout=_POLL)
            except Empty:
                if self._closing.is_set():
                    break
                continue
            if not self._until_done(partial(self._run.send, point)):
                self._dropped += 1
                return
        if self._is_open:
            self._attempt(lambda: self._run.close(succeeded=self._succeeded))

    def _open(self) -> None:
        self._run.open()
        self._is_open = True

    def _until_done(self, call: Callable[[], None]) -> bool:
        """Try again until it succeeds; False where the run is over and no time is left."""
        while not self._attempt(call):
            if self._closing.wait(self._retry_seconds) and time.monotonic() + self._retry_seconds > self._deadline:
                return False
            if self._closing.is_set():
                time.sleep(min(_POLL, self._retry_seconds))
        return True

    def _attempt(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except Exception as problem:  # whatever a tracker's library raises, training goes on
            if not self._is_down:
                self._is_down = True
                log.warning("%s cannot be reached, training goes on without it: %s", self._run.name, _line(problem))
            return False
        self._deadline = time.monotonic() + self._close_seconds
        if self._is_down:
            self._is_down = False
            log.info("%s can be reached again", self._run.name)
        return True


def _line(problem: Exception) -> str:
    text = " ".join(str(problem).split())
    return f"{type(problem).__name__}: {text[:300]}"


_SECRET: Final = re.compile(r"token$|secret|password|api_?key|credential|_logger_kwargs", re.IGNORECASE)
_MAX_CHARACTERS: Final = 500
"""Of a value; older servers of MLflow take no more."""


def parameters(config: TrainingConfig) -> dict[str, str]:
    """Return what was set, key by key."""
    return dict(_flat(config.model_dump(by_alias=True, exclude_unset=True, mode="json"), ""))


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not _SECRET.search(str(key)):
                yield from _flat(item, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, str(value)[:_MAX_CHARACTERS]
