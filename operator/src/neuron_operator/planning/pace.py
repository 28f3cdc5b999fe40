"""Seconds per step, learned from the steps that pod 0 reports: an average in which the newest steps count most.

Both times are the pod's own, so that clocks which differ between nodes do not matter. Each start of the processes
learns anew: what comes after a restart may be another image, or another node.
"""

from dataclasses import dataclass
from typing import Final

from neuron_api.progress import Progress
from neuron_api.status import ProgressStatus

KEPT: Final = 0.9
"""Weight of what was known before one more step: half of the average is the last 7 steps (0.9 ** 7 = 0.48)."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds per step, and how many steps tell it."""

    seconds: float | None = None
    steps: int = 0


def learn(before: ProgressStatus, report: Progress, pod_uid: str) -> Pace:
    """The pace after a report; a report without a new step changes nothing."""
    if before.pod_uid != pod_uid or before.round != report.round:
        return Pace()
    known = Pace(before.seconds_per_step, before.measured_steps)
    steps = report.step - before.step
    if steps <= 0 or before.last_step_time is None or report.last_step_time is None:
        return known
    seconds = (report.last_step_time - before.last_step_time).total_seconds() / steps
    if seconds <= 0:  # The node's clock was set.
        return known
    weight = KEPT**steps if known.seconds is not None else 0.0
    return Pace(round((known.seconds or 0.0) * weight + seconds * (1 - weight), 3), known.steps + steps)
