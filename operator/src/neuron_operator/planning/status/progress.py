"""What pod 0 reports, taken over into the status."""

from collections.abc import Mapping
from datetime import datetime

from neuron_api.resource.progress import Progress, TrainerPhase
from neuron_api.resource.status import CheckpointStatus, JobStatus, Phase, ProgressStatus
from neuron_api.resumption import LINE_LENGTH, MAX_LINES
from neuron_operator.planning.failures.gang import Gang
from neuron_operator.planning.observation.observation import Observed

from . import goodput, pace

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
    total_seconds, total_steps = goodput.total(before, report, pod_uid)
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
    return updated.model_copy(update={"goodput": goodput.until_last_step(updated)})


def finalize(status: JobStatus, phase: Phase, end: datetime | None) -> JobStatus:
    """Nothing is estimated of a job that does not train; the goodput of one that is over is told to its end."""
    if status.progress is not None and phase is not Phase.RUNNING:
        progress = status.progress.model_copy(update={"estimated_completion_time": None, "time_remaining": ""})
        status = status.model_copy(update={"progress": progress})
    return status.model_copy(update={"goodput": goodput.until_end(status, end)}) if end else status


def is_stepping(status: JobStatus, pod_zero_uid: str) -> bool:
    """Return whether the pods that are there now have finished a step."""
    progress = status.progress
    if progress is None or not pod_zero_uid:
        return False
    return progress.last_step_time is not None and progress.pod_uid == pod_zero_uid
