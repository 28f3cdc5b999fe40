"""Goodput: the share of a job's time that went into steps which were kept.

    goodput = step x average seconds of a step / (time since startTime - suspended)

A step that is done again counts once, since `step` falls back with the checkpoint. Told from what the status says and
never from the clock, so that a pass without news changes nothing: up to the last step, and in the end up to the end.
"""

from datetime import datetime

from neuron_api.resource.progress import Progress
from neuron_api.resource.status import JobStatus, ProgressStatus

from . import pace


def total(before: ProgressStatus, report: Progress, pod_uid: str) -> tuple[float, int]:
    """Seconds and number of all steps that were measured, those of this report with them."""
    new = pace.measured(before, report, pod_uid)
    seconds = before.total_step_seconds + (new.seconds or 0.0) * new.steps
    return round(seconds, 3), before.total_measured_steps + new.steps


def until_last_step(status: JobStatus) -> float | None:
    """Return the goodput up to the last step; between two starts, the value that was last reported."""
    when = status.progress.last_step_time if status.progress else None
    return _share(status, when) if when else status.goodput


def until_end(status: JobStatus, end: datetime) -> float | None:
    """Return the final goodput. A suspension during which the job ends counts as suspended time."""
    stopped = status.suspension.stop_time if status.suspension else None
    return _share(status, min(end, stopped) if stopped else end)


def _share(status: JobStatus, until: datetime) -> float | None:
    progress, begun = status.progress, status.start_time
    if begun is None:
        return None
    seconds = (until - begun).total_seconds() - status.suspended_seconds
    if seconds <= 0:  # The clocks of node and API server contradict each other.
        return status.goodput
    if progress is None or not progress.total_measured_steps:
        return None  # No pace is known.
    productive = progress.step * progress.total_step_seconds / progress.total_measured_steps
    return round(min(1.0, productive / seconds), 3)
