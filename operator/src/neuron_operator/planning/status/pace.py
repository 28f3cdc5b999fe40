"""Seconds per step, learned from the steps that pod 0 reports: an average in which the newest steps count most.

Both times are the pod's own, so that clocks which differ between nodes do not matter. Each start of the processes
learns again: what comes after a restart may be another image, or another node.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from neuron_api.resource.progress import Progress
from neuron_api.resource.status import ProgressStatus

RETAINED_WEIGHT: Final = 0.9
"""Weight of what was known before one more step: half of the average is the last 7 steps (0.9 ** 7 = 0.48)."""


_UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds per step, and how many steps tell it."""

    seconds: float | None = None
    steps: int = 0


def learn(before: ProgressStatus, report: Progress, pod_uid: str) -> Pace:
    """The pace after a report; a report without a new step changes nothing."""
    if not _same_start(before, report, pod_uid):
        return Pace()
    average, new = Pace(before.seconds_per_step, before.measured_steps), measured(before, report, pod_uid)
    if new.seconds is None:
        return average
    weight = RETAINED_WEIGHT**new.steps if average.seconds is not None else 0.0
    return Pace(round((average.seconds or 0.0) * weight + new.seconds * (1 - weight), 3), average.steps + new.steps)


def measured(before: ProgressStatus, report: Progress, pod_uid: str) -> Pace:
    """Return the pace of the steps since the last report; empty where the processes have started in between."""
    steps = report.step - before.step
    if not _same_start(before, report, pod_uid) or steps <= 0:
        return Pace()
    if before.last_step_time is None or report.last_step_time is None:
        return Pace()
    seconds = (report.last_step_time - before.last_step_time).total_seconds() / steps
    return Pace(seconds, steps) if seconds > 0 else Pace()  # The node's clock was set.


def end(step: int, max_steps: int | None, last_step: datetime | None, seconds: float | None) -> datetime | None:
    """Return when the last step is finished at this pace, in whole seconds; None: unknown."""
    if max_steps is None or last_step is None or seconds is None:
        return None
    try:
        return (last_step + timedelta(seconds=max(0, max_steps - step) * seconds)).replace(microsecond=0)
    except OverflowError:  # After the year 9999.
        return None


def remaining(completion: datetime | None, last_step: datetime | None) -> str:
    """The time from the last step to the end, for people; empty where the end is not known."""
    return format_duration((completion - last_step).total_seconds()) if completion and last_step else ""


def format_duration(seconds: float) -> str:
    """Return a span of time as kubectl writes it, in its two largest units: `2d3h`, `4m`, `17s`.

    What is below a second, or in the future by a clock that is ahead, is `0s`.
    """
    remaining = max(0, int(seconds))
    for position, (unit, size) in enumerate(_UNITS):
        if remaining >= size:
            smaller, smaller_size = _UNITS[position + 1] if position + 1 < len(_UNITS) else ("", 1)
            rest = remaining % size // smaller_size if smaller else 0
            return f"{remaining // size}{unit}" + (f"{rest}{smaller}" if rest else "")
    return "0s"


def format_age(moment: datetime, now: datetime) -> str:
    """Return how long ago a moment was, for people."""
    return format_duration((now - moment).total_seconds())


def _same_start(before: ProgressStatus, report: Progress, pod_uid: str) -> bool:
    return before.pod_uid == pod_uid and before.round == report.round
