"""`status.timeSpent`: the account of a job's time by activity (`neuron_api.timeline`), and what follows from it.

Its size is bounded: sums, and the sums of a few moments of the last day, from which the share of that day follows.
"""

from datetime import datetime, timedelta
from typing import Final

from pydantic import AwareDatetime, Field

from neuron_api import timeline
from neuron_api.timeline import Activity

from .wire_values import Decimal, StatusObject

MARK_INTERVAL: Final = timedelta(hours=6)
"""Between two marks."""
DAY: Final = timedelta(days=1)
MAX_MARKS: Final = 6
"""As many as reach back over a day."""
_OF_PODS: Final = (Activity.QUEUE, Activity.PLACEMENT, Activity.IMAGE)


class TimeMark(StatusObject):
    """The account at an earlier moment."""

    time: AwareDatetime
    """The moment."""
    seconds: dict[str, Decimal] = Field(default_factory=dict, max_length=32)
    """The seconds by then, by activity, decimal numbers."""


class TimeSpent(StatusObject):
    """Where the time of the job went: its seconds by activity add up to the time from startTime to endTime."""

    start_time: AwareDatetime
    """From when on they are counted: the creation of the job."""
    end_time: AwareDatetime
    """Up to when they are counted: the newest moment that is certain."""
    seconds: dict[str, Decimal] = Field(default_factory=dict, max_length=32)
    """Decimal numbers by activity: queue, placement, image, start, rendezvous, load, compile, data, step, validation,
    save, rework, hang, idle, suspended (docs/concepts/goodput.md)."""
    activity: str = Field(default=Activity.IDLE, max_length=63)
    """What the job has been doing since then."""
    pod_uid: str = Field(default="", alias="podUID", max_length=253)
    """UID of the pod 0 whose launcher has reported."""
    reported: dict[str, Decimal] = Field(default_factory=dict, max_length=32)
    """What that launcher had reported by then; the next report adds the difference."""
    marks: tuple[TimeMark, ...] = Field(default=(), max_length=MAX_MARKS)
    """The account at earlier moments of the last day, oldest first."""

    @property
    def total(self) -> float:
        """Return the seconds of all activities."""
        return timeline.rounded(sum(self.seconds.values()))

    def until_now(self, now: datetime, *, is_up: bool = False) -> dict[str, float]:
        """Return the seconds by activity up to now: what was done last goes on. `is_up`: all pods are."""
        rest = max(0.0, (now - self.end_time).total_seconds())
        activity = Activity.START if is_up and self.activity in _OF_PODS else self.activity
        return timeline.add(self.seconds, {activity: timeline.rounded(rest)})

    def of_last_day(self, seconds: dict[str, float], now: datetime) -> tuple[dict[str, float], bool]:
        """Return the part of the seconds that lies in the last day (up to 30 hours), and whether there was any before
        it."""
        earlier = [mark for mark in self.marks if mark.time <= now - DAY]
        return (timeline.difference(seconds, earlier[-1].seconds), True) if earlier else (seconds, False)

    def with_mark(self, before: "TimeSpent") -> "TimeSpent":
        """Return the account with a mark of the one before, where it is time for one."""
        newest = self.marks[-1].time if self.marks else self.start_time
        if self.end_time - newest < MARK_INTERVAL:
            return self
        marks = (*self.marks, TimeMark(time=before.end_time, seconds=before.seconds))
        needed = [number for number, mark in enumerate(marks) if mark.time <= self.end_time - DAY]
        return self.model_copy(update={"marks": marks[needed[-1] if needed else 0 :][-MAX_MARKS:]})
