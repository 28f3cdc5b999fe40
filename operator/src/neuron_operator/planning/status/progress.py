"""What pod 0 reports, taken over into the status, and the goodput that follows.

Goodput: the share of a job's time that went into steps which were kept.

    goodput = step x average seconds of a step / (time since startTime - suspended)

A step that is done again counts once, since `step` falls back with the checkpoint. Derived from what the status says
and never from the clock, so that a pass without news changes nothing: up to the last step, and in the end up to the
end.
"""

from collections.abc import Mapping
from datetime import datetime

from neuron_api.resource.progress import Progress, TrainerPhase
from neuron_api.resource.status import CheckpointStatus, JobStatus, Phase, ProgressStatus
from neuron_api.resumption import LINE_LENGTH, MAX_LINES
from neuron_operator.planning.failures.gang import Gang
from neuron_operator.planning.observation.observation import Observed

from . import compilation, pace


def step_totals(before: ProgressStatus, report: Progress, pod_uid: str) -> tuple[float, int]:
    """Seconds and number of all steps that were measured, those of this report with them."""
    new = pace.measured(before, report, pod_uid)
    seconds = before.total_step_seconds + (new.seconds or 0.0) * new.steps
    return round(seconds, 3), before.total_measured_steps + new.steps


def goodput_until_last_step(status: JobStatus) -> float | None:
    """Return the goodput up to the last step; between two starts, the value that was last reported."""
    when = status.progress.last_step_time if status.progress else None
    return _share(status, when) if when else status.goodput


def goodput_until_end(status: JobStatus, end: datetime) -> float | None:
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


_BEFORE_TRAINING = (TrainerPhase.STARTING, TrainerPhase.RENDEZVOUS, TrainerPhase.LOADING)


def trusted(observed: Observed, gang: Gang) -> Mapping[int, Progress]:
    """Reports that come from the pod which the operator thinks it asked: addresses are used again."""
    return {
        index: report
        for index, report in observed.reports.items()
        if (pod := gang.pods.get(index)) is not None
        and report.pod_uid in ("", pod.uid)
        and report.job_uid in ("", observed.job.metadata.uid)
        and report.attempt == gang.attempt
    }


def update(status: JobStatus, report: Progress | None, pod_uid: str, max_steps: int | None) -> JobStatus:
    """Numbers of a pod that has not begun yet do not replace those of its predecessor."""
    if report is None:
        return status
    before = status.progress or ProgressStatus()
    behind = report.phase in _BEFORE_TRAINING and report.step < before.step
    numbers = before if behind else report
    measured = pace.learn(before, report, pod_uid)
    total_seconds, total_steps = step_totals(before, report, pod_uid)
    last = report.max_steps or max_steps
    completion = pace.end(numbers.step, last, report.last_step_time, measured.seconds)
    progress = before.model_copy(
        update={
            "step": numbers.step,
            "max_steps": last,
            "furthest_step": max(before.furthest_step, before.step, numbers.step),
            "loss": numbers.loss,
            "tokens_per_second": numbers.tokens_per_second,
            "mfu": numbers.mfu,
            "metrics": {name: value for name, value in numbers.metrics.items() if value is not None},
            "reference_time": report.reference.time if report.reference is not None else before.reference_time,
            "last_step_time": report.last_step_time,
            "pod_uid": pod_uid,
            "seconds_per_step": measured.seconds,
            "measured_steps": measured.steps,
            "total_step_seconds": total_seconds,
            "total_measured_steps": total_steps,
            "estimated_completion_time": completion,
            "time_remaining": pace.remaining(completion, report.last_step_time),
            "round": report.round,
        }
    )
    reported = report.checkpoint
    checkpoint = CheckpointStatus(**reported.model_dump()) if reported else status.checkpoint
    resume = tuple(line[:LINE_LENGTH] for line in report.resume[: MAX_LINES + 2]) or status.resume
    updated = status.model_copy(update={"progress": progress, "checkpoint": checkpoint, "resume": resume})
    updated = compilation.update(updated, report, pod_uid)
    return updated.model_copy(update={"goodput": goodput_until_last_step(updated)})


def finalize(status: JobStatus, phase: Phase, end: datetime | None) -> JobStatus:
    """Nothing is estimated of a job that does not train; the goodput of one that is over is told to its end."""
    if status.progress is not None and phase is not Phase.RUNNING:
        progress = status.progress.model_copy(update={"estimated_completion_time": None, "time_remaining": ""})
        status = status.model_copy(update={"progress": progress})
    return status.model_copy(update={"goodput": goodput_until_end(status, end)}) if end else status


def is_stepping(status: JobStatus, pod_zero_uid: str) -> bool:
    """Return whether the pods that are there now have finished a step."""
    progress = status.progress
    if progress is None or not pod_zero_uid:
        return False
    return progress.last_step_time is not None and progress.pod_uid == pod_zero_uid
