"""The account of a launcher's time: its own activities, and in between those of its workers, round after round.

The launcher outlives its workers, so it has the whole timeline. Of a round it takes what its worker has reported; what
came after that is certain only when the round is over: a step that is finished, or one that a failure cut off.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Final

from neuron_api import timeline
from neuron_api.resource.progress import TimeReport
from neuron_api.timeline import Activity, Stretch
from neuron_trainer.errors import DirectoryLostError
from neuron_trainer.ipc.worker_channel import WorkerChannel

from .timeline_file import TimelineFile

log = logging.getLogger(__name__)

HANG_SECONDS: Final = 60.0
"""What a step took that was cut off after more than this is called a hang, or after `HANG_FACTOR` steps."""
HANG_FACTOR: Final = 10
_TRAINING: Final = (Activity.STEP, Activity.REWORK)
_FIRST_INTERVAL, _LAST_INTERVAL, _PART = 1.0, 60.0, 500
"""Seconds between two lines, first and at most; in between a part of the launcher's age."""


class TimeRecord:
    """Of one launcher, from its first instruction on; for several threads."""

    def __init__(
        self,
        channel: WorkerChannel,
        since: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`since`: when the launcher was started, on the monotonic clock."""
        self._channel, self._clock, self._lock = channel, clock, Lock()
        now = self._now()
        self._begin = self._changed = now if since is None else timeline.rounded(since)
        self._offset = wall_clock() - now
        self._activity: str = Activity.START
        self._seconds: dict[str, float] = {}
        """Up to the newest change."""
        self._round: int | None = None
        """The round that workers are in; None: the launcher is at work itself."""
        self._written, self._written_until = dict[str, float](), self._begin
        self._pace: float | None = None
        """Seconds of a step, by two reports of a round; None: there were none."""
        self._newest: tuple[float, int] | None = None
        """Seconds and number of the steps in the newest report of the round."""

    def _now(self) -> float:
        """Return the moment in whole milliseconds, as seconds are: what is rounded does not add up."""
        return timeline.rounded(self._clock())

    # ---- what is being done -----------------------------------------------------------------------------------------

    def enter(self, activity: str, at: float | None = None) -> None:
        """The launcher itself does something else from now on, or since `at`."""
        with self._lock:
            self._close(self._now() if at is None else max(timeline.rounded(at), self._changed))
            self._activity, self._round = activity, None

    def begin_round(self, number: int, at: float) -> None:
        """Workers are started: what they report counts from `at` on."""
        with self._lock:
            self._close(max(timeline.rounded(at), self._changed))
            self._activity, self._round, self._newest = Activity.LOAD, number, None

    def _close(self, now: float) -> None:
        """Settle the time from the newest change to now."""
        certain, activity = self._certain()
        rest = max(0.0, now - self._changed - sum(certain.values()))
        if self._round is not None and activity in _TRAINING:
            activity = self._cut_off(rest)
        length = max(0.0, now - self._changed)
        settled = timeline.apportion({**certain, activity: certain.get(activity, 0.0) + rest}, length)
        self._seconds = timeline.add(self._seconds, settled)
        self._changed = now

    def _cut_off(self, seconds: float) -> str:
        """Return what the time after the last report of a round was that is over: a step that did not come to its end,
        or processes that stood still. How long the first step may take nobody knows: it may compile."""
        if self._pace is None:
            return Activity.REWORK
        return Activity.HANG if seconds > max(HANG_SECONDS, HANG_FACTOR * self._pace) else Activity.REWORK

    def _certain(self) -> tuple[dict[str, float], str]:
        """Return what is certain since the newest change, and what is being done after that."""
        report = self._worker_report()
        if report is None:
            return self._compiling() if self._round is not None else ({}, self._activity)
        return dict(report.seconds), report.activity or Activity.STEP

    def _worker_report(self) -> TimeReport | None:
        if self._round is None:
            return None
        report = self._channel.read_progress()
        if report is None or report.round != self._round or report.time_spent is None:
            return None
        seconds = sum(report.time_spent.seconds.get(name, 0.0) for name in _TRAINING)
        before, steps = self._newest or (seconds, report.step)
        if report.step > steps:
            self._pace = max(0.0, seconds - before) / (report.step - steps)
        if self._newest is None or report.step != steps:
            self._newest = seconds, report.step
        return report.time_spent

    def _compiling(self) -> tuple[dict[str, float], str]:
        """Return the time before a compile phase that is under way or has ended in this round."""
        report = self._channel.read_compilation()
        before = report.since.timestamp() - self._offset - self._changed if report is not None else -1.0
        if before < 0:
            return {}, self._activity
        return {Activity.LOAD: before}, Activity.COMPILE

    # ---- what has become of it --------------------------------------------------------------------------------------

    def report(self) -> TimeReport:
        """Return the account as far as it is certain."""
        with self._lock:
            seconds, until, activity = self._state()
        since = datetime.fromtimestamp(self._begin + self._offset, UTC)
        return TimeReport(
            since=since, until=datetime.fromtimestamp(until + self._offset, UTC), seconds=seconds, activity=activity
        )

    def _state(self) -> tuple[dict[str, float], float, str]:
        """Return the certain seconds, the moment until which they are, and what has been done since."""
        certain, activity = self._certain()
        now = self._now()
        until = min(now, self._changed + sum(certain.values()))
        if self._round is None:
            certain, until = {activity: now - self._changed}, now
        settled = timeline.apportion(certain, until - self._changed)
        return timeline.add(self._seconds, settled), until, activity

    # ---- the file ---------------------------------------------------------------------------------------------------

    @contextmanager
    def recording(self, folder: Path, step: Callable[[], int], guard: Callable[[], None]) -> Iterator[None]:
        """Write to the log directory meanwhile, and what was before that. `step`: the newest finished one."""
        file, ended, problems = TimelineFile(folder, guard), Event(), set[str]()

        def write() -> None:
            try:
                self.write(file, step())
            except (OSError, DirectoryLostError) as problem:
                if str(problem) not in problems:
                    log.warning("where the time goes is not recorded: %s", problem)
                problems.add(str(problem))

        def run() -> None:
            while not ended.wait(self._interval()):
                write()

        thread = Thread(target=run, name="timeline", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.enter(Activity.IDLE)
            write()

    def _interval(self) -> float:
        return min(_LAST_INTERVAL, max(_FIRST_INTERVAL, (self._clock() - self._begin) / _PART))

    def write(self, file: TimelineFile, step: int) -> None:
        """Append what has become certain since the last call, and what is being done at the moment."""
        with self._lock:
            seconds, until, activity = self._state()
            added = timeline.difference(seconds, self._written)
            begin, self._written, written_until = self._wall(self._written_until), seconds, until
            self._written_until = written_until
            now = self._wall(self._now())
        end = self._wall(until)
        certain = Stretch(begin, end, timeline.apportion(added, end - begin, activity), step)
        file.append([certain, Stretch(end, now, timeline.apportion({activity: 1.0}, now - end), step)])

    def _wall(self, moment: float) -> float:
        return timeline.rounded(moment + self._offset)
