"""From a job, and what was read around it, to the data that commands and the dashboard show. Pure."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from neuron_api.reference.reasons import meaning
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.overview import (
    ConditionView,
    EventView,
    JobDetail,
    JobSummary,
    PodView,
    RestartView,
    TimeShare,
)
from neuron_api.resource.status import Condition, Phase, Restart
from neuron_operator.cli.live import checkpoints, status_view, why
from neuron_operator.cli.live.job_snapshot import HEADLINE, JobSnapshot, is_true
from neuron_operator.planning.observation.observation import Pod
from neuron_operator.planning.status import spikes, stragglers
from neuron_operator.planning.status.account import seconds_spent
from neuron_operator.planning.status.conditions import sentence

_TRAINS: Final = (Phase.RUNNING, Phase.SUSPENDING)
"""Phases in which a rate is one of now."""
KEPT: Final = "steps that were kept"
REPEATED: Final = "steps done again"
RECOVERY: Final = "recovery from failures"
OTHER: Final = "waiting, start and compilation"
SUSPENDED: Final = "suspended"


def summary(job: NeuronTrainingJob) -> JobSummary:
    """Return the job as a row of a list."""
    status, progress, shape = job.status, job.status.progress, job.status.topology
    headline = next((entry for entry in status.conditions if entry.type in HEADLINE and is_true(entry)), None)
    running = progress if progress and status.phase in _TRAINS else None
    pace = running.seconds_per_step if running else None
    return JobSummary(
        namespace=job.metadata.namespace,
        name=job.metadata.name,
        uid=job.metadata.uid,
        phase=str(status.phase),
        reason=str(headline.reason) if headline else "",
        message=headline.message if headline else "",
        step=progress.step if progress else 0,
        max_steps=progress.max_steps if progress else None,
        loss=progress.loss if progress else None,
        steps_per_second=1 / pace if pace else None,
        tokens_per_second=running.tokens_per_second if running else None,
        mfu=running.mfu if running else None,
        goodput=status.goodput,
        remaining_seconds=status_view.seconds_left(job) if running else None,
        estimated_completion_time=progress.estimated_completion_time if progress else None,
        ready_nodes=status.ready_nodes,
        nodes=shape.nodes if shape else None,
        devices=shape.nodes * shape.neuron_devices_per_node if shape else 0,
        restarts=status.restart_count,
        steps_lost=status.steps_lost,
        creation_time=job.metadata.creation_timestamp,
        start_time=status.start_time,
        completion_time=status.completion_time,
        last_step_time=progress.last_step_time if progress else None,
        is_suspended=job.spec.suspend,
        is_finished=status.finished,
    )


def detail(snapshot: JobSnapshot, now: datetime) -> JobDetail:
    """Return everything about one job."""
    job, status = snapshot.job, snapshot.job.status
    answer = why.answer(snapshot, now)
    return JobDetail(
        **summary(job).model_dump(),
        explanation=answer.sentence,
        remedy=answer.remedy or (meaning(answer.reason) if answer.reason else ""),
        evidence=answer.evidence,
        conditions=tuple(map(_condition, status.conditions)),
        ledger=tuple(_restart(number, entry) for number, entry in enumerate(status.restarts, 1)),
        pods=tuple(map(_pod, snapshot.pods)),
        excluded_nodes=tuple(f"{entry.node}: {entry.reason}. {entry.message}" for entry in status.excluded_nodes),
        unusual_steps=tuple(map(spikes.sentence, status.spikes)),
        stragglers=tuple(map(stragglers.sentence, status.stragglers)),
        events=tuple(
            EventView(
                time=event.time,
                is_warning=event.is_warning,
                subject=event.subject,
                reason=event.reason,
                note=event.note,
                count=event.count,
            )
            for event in snapshot.events
        ),
        checkpoints=tuple(checkpoints.rows(job, status.checkpoint)),
        restart_cost=checkpoints.cost(job, status.checkpoint),
        resume=status.resume,
        time_shares=tuple(time_shares(job, now)),
        unread=snapshot.unread,
    )


def time_shares(job: NeuronTrainingJob, now: datetime) -> Iterator[TimeShare]:
    """Yield where the seconds since the job's creation went, largest first; they add up to that time."""
    seconds = seconds_spent(job, now)
    if not seconds:
        yield from _estimated_shares(job, now)
    for activity in sorted(seconds, key=lambda name: -seconds[name]):
        yield TimeShare(label=activity, seconds=seconds[activity])


def _estimated_shares(job: NeuronTrainingJob, now: datetime) -> Iterator[TimeShare]:
    """Yield the same since the start of a job whose operator keeps no account (an earlier release).

    Steps that were kept are goodput's; what no other part explains is waiting, start and compilation.
    """
    status, progress = job.status, job.status.progress
    if status.start_time is None:
        return
    since_start = max(0.0, ((status.completion_time or now) - status.start_time).total_seconds())
    remaining = since_start
    pace = progress.seconds_per_step if progress else None
    kept_seconds = progress.step * _average(job) if progress else 0.0
    parts = {
        SUSPENDED: status.suspended_seconds,
        KEPT: kept_seconds,
        REPEATED: status.steps_lost * (pace or 0.0),
        RECOVERY: sum(entry.recovery_seconds or 0.0 for entry in status.restarts),
    }
    for label, seconds in parts.items():
        share = min(remaining, seconds)
        remaining -= share
        if share > 0:
            yield TimeShare(label=label, seconds=round(share, 3))
    if remaining > 0:
        yield TimeShare(label=OTHER, seconds=round(remaining, 3))


def _average(job: NeuronTrainingJob) -> float:
    """Return the average seconds of a step, as goodput counts them."""
    progress = job.status.progress
    if progress is None or not progress.total_measured_steps:
        return 0.0
    return progress.total_step_seconds / progress.total_measured_steps


def _condition(condition: Condition) -> ConditionView:
    return ConditionView(
        type=str(condition.type),
        status=str(condition.status),
        reason=str(condition.reason),
        message=condition.message,
        remedy=meaning(condition.reason),
        time=condition.last_transition_time,
    )


def _restart(number: int, entry: Restart) -> RestartView:
    return RestartView(
        number=number,
        scope=str(entry.restart_scope),
        cause=str(entry.cause),
        sentence=sentence(entry),
        remedy=meaning(entry.cause),
        time=entry.time,
        step=entry.step,
        resumed_from_step=entry.resumed_from_step,
        steps_lost=entry.steps_lost,
        recovery_seconds=entry.recovery_seconds,
        recovered_time=entry.recovered_time,
    )


def _pod(pod: Pod) -> PodView:
    return PodView(name=pod.name, index=pod.index, node=pod.node, state=_state(pod), is_ready=pod.ready)


def _state(pod: Pod) -> str:
    if pod.terminating:
        return "Terminating"
    if pod.over:
        code = f" ({pod.termination_reason or pod.pod_reason}, exit code {pod.exit_code})" if pod.failed else ""
        return f"{'Failed' if pod.failed else 'Succeeded'}{code}"
    if pod.waiting_reason:
        return f"{pod.waiting_reason}: {pod.waiting_message}" if pod.waiting_message else pod.waiting_reason
    if pod.unschedulable:
        return f"Unschedulable: {pod.unschedulable}"
    return "Ready" if pod.ready else "Running" if pod.running else "Pending"
