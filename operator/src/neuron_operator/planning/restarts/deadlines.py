"""Moments at which a job is ended because it took too long: as a whole, or in one stage of its start.

The stages of a start are told apart by what the pods themselves say, so nothing has to be remembered:

    created  ──schedulingSeconds──▶  has a node  ──imageSeconds──▶  container runs  ──firstStepSeconds──▶  first step

With a queue or a gang scheduler the first stage is two, and time in a queue is not counted as scheduling:

    created  ──admissionSeconds──▶  admitted  ──schedulingSeconds──▶  has a node
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from neuron_api.resource.reasons import Reason
from neuron_api.resource.spec import JobSpec
from neuron_api.resource.status import CompilationStatus, JobStatus
from neuron_operator.planning.failures.gang import Gang
from neuron_operator.planning.observation.observation import Pod
from neuron_operator.planning.scheduling.adapter import Admission
from neuron_operator.planning.status import compilation
from neuron_operator.planning.status.conditions import End


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment, and how the job ends when it has come."""

    moment: datetime
    end: End


def exceeded(deadlines: tuple[Deadline, ...], now: datetime) -> End | None:
    """The end that was due first."""
    due = [deadline for deadline in deadlines if deadline.moment <= now]
    return min(due, key=lambda deadline: deadline.moment).end if due else None


def seconds_until_next(deadlines: tuple[Deadline, ...], now: datetime) -> float | None:
    """Return the seconds until the next deadline; None: there is none."""
    return min(
        ((deadline.moment - now).total_seconds() for deadline in deadlines if deadline.moment > now), default=None
    )


def active_deadlines(
    spec: JobSpec,
    status: JobStatus,
    gang: Gang,
    admission: Admission | None = None,
    *,
    stepping: bool,
    phase: CompilationStatus | None = None,
) -> tuple[Deadline, ...]:
    """All that run now. None runs for a job that was told to stop; in a compile phase, the one of that `phase`."""
    if status.suspension is not None and status.suspension.stop_time is not None:
        return ()
    if phase is not None:
        return tuple(_compiling(spec, phase))
    living = [pod for pod in gang.pods.values() if not pod.over and not pod.terminating]
    first_step = () if stepping else _first_step(spec, status, gang, living)
    queued = _queued(spec, living, admission) if admission and not admission.admitted else ()
    since = admission.since if admission else None
    stages = _stages(spec, living, since, placing=admission is None or admission.admitted)
    return (*_whole(spec, status), *queued, *stages, *first_step)


def _whole(spec: JobSpec, status: JobStatus) -> Iterator[Deadline]:
    seconds = spec.active_deadline_seconds
    if seconds is not None and status.start_time is not None:
        message = (
            f"spec.activeDeadlineSeconds ({seconds}) is over. The pods are asked to save; a new job can continue from "
            "the last checkpoint (exp_manager.resume_from_checkpoint)."
        )
        uncounted = status.suspended_seconds + compilation.total_seconds(status)
        yield _deadline(status.start_time, seconds + uncounted, Reason.DEADLINE_EXCEEDED, message)


def _compiling(spec: JobSpec, phase: CompilationStatus) -> Iterator[Deadline]:
    seconds = spec.compile_policy.timeout_seconds
    if seconds is not None:
        message = (
            f"The compile phase has taken longer than compilePolicy.timeoutSeconds ({seconds}): "
            f"{compilation.sentence(phase)} What was compiled is in the cache; a new job continues from there."
        )
        yield _deadline(phase.start_time, seconds, Reason.COMPILE_DEADLINE_EXCEEDED, message)


def _queued(spec: JobSpec, living: list[Pod], admission: Admission) -> Iterator[Deadline]:
    """Count from the youngest pod on: the gang cannot be admitted before it is complete."""
    seconds = spec.startup_policy.admission_seconds
    created = [pod.created_at for pod in living if not pod.node and pod.created_at]
    if seconds is not None and created:
        message = (
            f"The gang was not admitted in startupPolicy.admissionSeconds ({seconds}). {admission.message} Or raise "
            "the bound, in a new job."
        )
        yield _deadline(max(created), seconds, Reason.ADMISSION_DEADLINE_EXCEEDED, message)


def _stages(spec: JobSpec, living: list[Pod], admitted: datetime | None, *, placing: bool) -> Iterator[Deadline]:
    """`placing`: pods without a node are the scheduler's business, not a queue's, since `admitted`."""
    policy = spec.startup_policy
    for pod in living:
        if placing and not pod.node and not pod.gates and pod.created_at and policy.scheduling_seconds is not None:
            detail = f" The scheduler says: {pod.unschedulable}" if pod.unschedulable else ""
            message = (
                f"Pod {pod.name} has no node after startupPolicy.schedulingSeconds ({policy.scheduling_seconds})."
                f"{detail} Add nodes, ask for less (spec.platform, spec.podTemplate), or raise the bound, in a new job."
            )
            since = max(pod.created_at, admitted or pod.created_at)
            yield _deadline(since, policy.scheduling_seconds, Reason.SCHEDULING_DEADLINE_EXCEEDED, message)
        if pod.node and pod.scheduled_at and not pod.running and policy.image_seconds is not None:
            detail = f"{pod.waiting_reason}: {pod.waiting_message}" if pod.waiting_reason else "nothing about it."
            message = (
                f"The container of pod {pod.name} does not run on node {pod.node} after startupPolicy.imageSeconds "
                f"({policy.image_seconds}). The kubelet says: {detail} Fix spec.image or what it names, or raise the "
                "bound, in a new job."
            )
            yield _deadline(pod.scheduled_at, policy.image_seconds, Reason.IMAGE_DEADLINE_EXCEEDED, message)


def _first_step(spec: JobSpec, status: JobStatus, gang: Gang, living: list[Pod]) -> Iterator[Deadline]:
    """Count from the start of the last container, from the last failure, from the end of the compile phase or of a pass
    of reference log-probabilities, whichever is last."""
    seconds, started = spec.startup_policy.first_step_seconds, [pod.started_at for pod in living if pod.started_at]
    if seconds is not None and started and len(started) == gang.size:
        message = (
            f"No step was finished in startupPolicy.firstStepSeconds ({seconds}) after all containers were running. "
            "The pods' logs say what they were doing; raise the bound in a new job if that was loading or compiling."
        )
        reference = status.progress.reference_time if status.progress else None
        compiled = status.compilation.time if status.compilation else None
        passes = [moment for moment in (reference, compiled) if moment]
        since = max((*started, *(entry.time for entry in status.restarts[-1:]), *passes))
        yield _deadline(since, seconds, Reason.FIRST_STEP_DEADLINE_EXCEEDED, message)


def _deadline(since: datetime, seconds: float, reason: Reason, message: str) -> Deadline:
    return Deadline(since + timedelta(seconds=seconds), End(reason, message))
