"""The clock of a worker: it does one thing at a time, and all its seconds are of some activity."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from neuron_api import timeline
from neuron_api.resource.progress import TimeReport
from neuron_api.timeline import Activity


class ActivityClock:
    """Seconds by activity, up to the newest change."""

    def __init__(
        self,
        activity: str,
        seconds: Mapping[str, float] | None = None,
        since: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`seconds`: what is known up to `since`, a moment of the clock; from there on it is `activity`."""
        self._clock, self.activity = clock, activity
        self._seconds = dict(seconds or {})
        self._changed = clock() if since is None else since

    def enter(self, activity: str) -> str:
        """Do something else from now on; return what was done until now."""
        now, before = self._clock(), self.activity
        self._seconds[before] = self._seconds.get(before, 0.0) + max(0.0, now - self._changed)
        self._changed, self.activity = now, activity
        return before

    def correct(self, activity: str) -> None:
        """Name what is being done since the newest change, which has turned out to be this."""
        self.activity = activity

    @property
    def seconds(self) -> dict[str, float]:
        """Return the seconds by activity, those of this moment with them."""
        self.enter(self.activity)
        return timeline.add(self._seconds)

    def report(self) -> TimeReport:
        """Return the same as a report that ends now."""
        seconds, until = self.seconds, datetime.now(UTC)
        since = until - timedelta(seconds=sum(seconds.values()))
        return TimeReport(since=since, until=until, seconds=seconds, activity=self.activity)


def step_activity(step: int, furthest_step: int) -> Activity:
    """Return what a step is: one that had been finished before is done again."""
    return Activity.REWORK if step <= furthest_step else Activity.STEP
