"""The compile phase in the status: taken over from pod 0's report, and what follows from it for phase and deadlines."""

from datetime import datetime

from neuron_api.resource.progress import Progress, TrainerPhase
from neuron_api.resource.status import CompilationStatus, JobStatus
from neuron_operator.planning.status.pace import format_duration


def update(status: JobStatus, report: Progress, pod_uid: str) -> JobStatus:
    """Take over the phase of a report; the seconds of one before it are kept."""
    reported, before = report.compilation, status.compilation
    if reported is None:
        return status
    earlier = before.earlier_seconds if before else 0.0
    is_interrupted, time = False, reported.time
    if before is not None and before.start_time != reported.since:
        earlier += before.seconds
    elif before is not None:
        is_interrupted, time = before.complete, max(before.time, reported.time)
    compilation = CompilationStatus(
        part=reported.part,
        done=reported.done,
        expected=reported.expected,
        compiled=reported.compiled,
        holder=reported.holder,
        start_time=reported.since,
        time=time,
        # A process that was killed in it could not say that it is over.
        complete=is_interrupted or reported.complete or report.phase is not TrainerPhase.LOADING,
        earlier_seconds=round(earlier, 3),
        pod_uid=pod_uid,
    )
    return status.model_copy(update={"compilation": compilation})


def interrupt(status: JobStatus, moment: datetime) -> JobStatus:
    """End the phase with a failure: the time since its newest graph was compilation, too, perhaps an hour of it."""
    compilation = status.compilation
    if compilation is None or compilation.complete or moment <= compilation.time:
        return status
    over = compilation.model_copy(update={"time": moment, "complete": True})
    return status.model_copy(update={"compilation": over})


def running(status: JobStatus, pod_zero_uid: str) -> CompilationStatus | None:
    """Return the phase that the pods of this moment are in; None: they are in none."""
    compilation = status.compilation
    is_running = compilation is not None and not compilation.complete and compilation.pod_uid == pod_zero_uid
    return compilation if is_running else None


def total_seconds(status: JobStatus) -> float:
    """Return the seconds of all phases that are over."""
    compilation = status.compilation
    return compilation.earlier_seconds + compilation.seconds if compilation else 0.0


def sentence(compilation: CompilationStatus) -> str:
    """Say how far the phase is."""
    if compilation.holder:
        return f"The same graphs are being compiled by {compilation.holder}; the job waits for them."
    part = f" ({compilation.part})" if compilation.part else ""
    expected = f" of {compilation.expected}" if compilation.expected else ""
    seconds = format_duration(compilation.seconds)
    return (
        f"Before training{part}: {compilation.done}{expected} graphs after {seconds}, {compilation.compiled} compiled."
    )
