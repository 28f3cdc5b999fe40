"""The restart ladder: what is done about lost pods, within which budget. Cheapest first:

process (the elastic agent's, recorded by `ledger.record_process_failures`) → this pod → all pods → the end.

A decision is only written down here. What it calls for is done by the next pass, after it has been saved: a crash
between the two loses nothing and does nothing twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.resource.progress import last_lines
from neuron_api.resource.reasons import Reason
from neuron_api.resource.spec import JobSpec, RestartPolicy
from neuron_api.resource.status import JobStatus, PodStatus, Restart, RestartScope
from neuron_operator.planning.failures import incident
from neuron_operator.planning.failures.failure import PodFailure, Verdict, first_failure
from neuron_operator.planning.failures.gang import Gang
from neuron_operator.planning.status.conditions import End

from . import budget, checkpoint_gate, crash_loop, ledger

_AT_ZERO: Final = (
    "exp_manager.resume_if_exists is False, so the job would begin again at step 0 after {} finished steps. "
    "Set it to True in a new job."
)
COMPLETED: Final = End(Reason.COMPLETED, "Training has ended as configured.")


@dataclass(frozen=True, slots=True)
class RestartDecision:
    """The status that tells of it; the end, if it is that."""

    status: JobStatus
    end: End | None = None


def decide_restart(
    gang: Gang, status: JobStatus, policy: RestartPolicy, config: TrainingConfig, now: datetime
) -> RestartDecision | None:
    """Decide about the losses that the ledger does not know; None: there are none."""
    if over := decide_end(gang, status):
        return over
    if crash := crash_loop.detect_crash_loop(status, config):
        return RestartDecision(status, crash)
    if not gang.losses:
        return None
    if barred := next((loss for loss in gang.losses if loss.verdict is Verdict.HOLD), None):
        return RestartDecision(_held(barred, status, now))
    worst = [loss for loss in gang.losses if loss.verdict is Verdict.GANG]
    times = {pod.uid: pod.finished_at.timestamp() for pod in gang.pods.values() if pod.finished_at}
    proven = next((loss for loss in gang.losses if loss.signal and loss.signal.exclude), None)
    blamed = proven or first_failure(worst or gang.losses, times)
    if not checkpoint_gate.can_resume(status, config, policy):
        return RestartDecision(status, End(Reason.CANNOT_RESUME, _cannot_resume(blamed, status)))
    if worst:
        explained = (proven, proven.cause, proven.counted) if proven else _explained(blamed, gang, status)
        return _gang(status, *explained, policy, config, now)
    if any(gang.succeeded(index) for index in range(gang.size)):
        blamed = next((loss for loss in gang.losses if loss.counted), blamed)
        return _gang(status, blamed, Reason.INCOMPLETE_COMPLETION, blamed.counted, policy, config, now)
    return _pods(gang, status, policy, config, now)


def restart_hung_gang(
    description: str, status: JobStatus, spec: JobSpec, config: TrainingConfig, now: datetime
) -> RestartDecision:
    """Replace all pods of a gang that hangs: whose fault it is cannot be told from a process that waits."""
    step = ledger.last_step(status)
    last = f"The last failure: Hang: {description}{f' after step {step}' if step else ''}."
    if not checkpoint_gate.can_resume(status, config, spec.restart_policy):
        return RestartDecision(status, End(Reason.CANNOT_RESUME, f"{last} {_AT_ZERO.format(step)}"))
    if used_up := budget.hangs_exhausted(status, spec.hang_policy, spec.restart_policy, now):
        message = f"{used_up}. {last} See the pods' logs, and the data of that step; then start a new job."
        return RestartDecision(status, End(Reason.BUDGET_EXHAUSTED, message))
    line = Restart(
        restart_scope=RestartScope.GANG,
        cause=Reason.HANG,
        time=now,
        attempt=status.attempt,
        message=ledger.clip(description),
        step=step,
        round=status.progress.round if status.progress else None,
        detection_seconds=ledger.seconds_to_detect(status.progress.last_step_time if status.progress else None, now),
    )
    charged = budget.charge(ledger.append(status, line), Reason.HANG, spec.restart_policy, now)
    return RestartDecision(charged.model_copy(update={"attempt": status.attempt + 1, "pods": ()}))


def decide_end(gang: Gang, status: JobStatus) -> RestartDecision | None:
    """The job is over by what its pods say: all have succeeded, or one says that nothing can help."""
    if stop := _refused(gang):
        return RestartDecision(status, stop)
    return RestartDecision(status, COMPLETED) if gang.over else None


def _held(loss: PodFailure, status: JobStatus, now: datetime) -> JobStatus:
    text = loss.message or "the launcher gave no message (exit code 3)."
    return checkpoint_gate.begin(
        status, _entry(loss, RestartScope.GANG, loss.cause, status, now), f"Pod {loss.pod}: {text}", now
    )


def _refused(gang: Gang) -> End | None:
    stop = next((loss for loss in gang.losses if loss.verdict is Verdict.STOP), None)
    if stop is None:
        return None
    if stop.signal is not None:
        table = f"Entry {stop.signal.rule} of the failure table says that another start cannot help."
        return End(stop.cause, f"{_describe(stop)} {table}")
    text = stop.message or f"the launcher gave no message (exit code {stop.exit_code})."
    return End(stop.cause, f"Pod {stop.pod}: {text}")


def _explained(blamed: PodFailure, gang: Gang, status: JobStatus) -> tuple[PodFailure, Reason | str, bool]:
    """Pods that gave up waiting for a pod lost to a disruption fail because of the disruption: not counted."""
    disrupted = next((loss for loss in gang.losses if loss.disrupted), None)
    if disrupted is not None and blamed.is_victim:
        return blamed, disrupted.cause, False
    # Of this attempt only: what fails again and again in later attempts fails by itself.
    entries = [
        entry
        for entry in ledger.open_entries(status)
        if entry.restart_scope is RestartScope.POD and entry.attempt == status.attempt
    ]
    if entries and entries[-1].cause not in (Reason.OUT_OF_MEMORY, Reason.PROCESS_KILLED):
        return blamed, entries[-1].cause, False
    return blamed, blamed.cause, blamed.counted


def _gang(
    status: JobStatus,
    blamed: PodFailure,
    cause: Reason | str,
    counted: bool,
    policy: RestartPolicy,
    config: TrainingConfig,
    now: datetime,
) -> RestartDecision:
    recorded = ledger.append(status, _entry(blamed, RestartScope.GANG, cause, status, now))
    if counted:
        if end := _end_by_budget(status, recorded, blamed, policy, config, now):
            return RestartDecision(status, end)
        recorded = budget.charge(recorded, blamed.cause, policy, now)
    return RestartDecision(recorded.model_copy(update={"attempt": status.attempt + 1, "pods": ()}))


def _pods(
    gang: Gang, status: JobStatus, policy: RestartPolicy, config: TrainingConfig, now: datetime
) -> RestartDecision:
    counted = next((loss for loss in gang.losses if loss.counted), None)
    recorded = ledger.append(status, *(_entry(loss, RestartScope.POD, loss.cause, status, now) for loss in gang.losses))
    if counted and not incident.is_charged(recorded):
        if end := _end_by_budget(status, recorded, counted, policy, config, now):
            return RestartDecision(status, end)
        recorded = budget.charge(recorded, counted.cause, policy, now)
    return RestartDecision(recorded.model_copy(update={"pods": _marked(gang, gang.losses)}))


def _end_by_budget(
    status: JobStatus,
    recorded: JobStatus,
    blamed: PodFailure,
    policy: RestartPolicy,
    config: TrainingConfig,
    now: datetime,
) -> End | None:
    """Return the end where one more failure of the job's own is one too many; `recorded`: the status with that failure
    in its ledger."""
    if crash := crash_loop.detect_crash_loop(recorded, config):
        return crash
    used_up = budget.exhausted(status, blamed.cause, policy, now)
    return _exhausted(blamed, used_up) if used_up else None


def _marked(gang: Gang, losses: Sequence[PodFailure]) -> tuple[PodStatus, ...]:
    lost = {loss.index for loss in losses}
    return tuple(
        record.model_copy(update={"lost": True, "ready": False}) if index in lost else record
        for index, record in sorted(gang.records.items())
    )


def _entry(loss: PodFailure, scope: RestartScope, cause: Reason | str, status: JobStatus, now: datetime) -> Restart:
    return Restart(
        restart_scope=scope,
        cause=cause,
        time=now,
        attempt=status.attempt,
        pod=loss.pod,
        pod_uid=loss.uid,
        round=status.progress.round if status.progress and status.progress.pod_uid else None,
        node=loss.node,
        rank=loss.rank,
        exit_code=loss.exit_code,
        neuron_code=loss.neuron_code,
        rule=loss.signal.rule if loss.signal else "",
        message=ledger.clip(loss.summary),
        log_tail=ledger.clip_lines(last_lines(loss.message)),
        step=loss.step if loss.step is not None else ledger.last_step(status),
        detection_seconds=ledger.seconds_to_detect(loss.failed_at, now),
    )


def _exhausted(loss: PodFailure, used_up: str) -> End:
    message = f"{used_up}. The last failure: {_describe(loss)} Fix it, then start a new job."
    return End(Reason.BUDGET_EXHAUSTED, message)


def _cannot_resume(loss: PodFailure, status: JobStatus) -> str:
    return f"{_describe(loss)} {_AT_ZERO.format(ledger.last_step(status))}"


def _describe(loss: PodFailure) -> str:
    where = f" on node {loss.node}" if loss.node else ""
    code = f" (exit code {loss.exit_code})" if loss.exit_code is not None else ""
    detail = f": {loss.summary}" if loss.summary else ""
    return f"{loss.cause}: pod {loss.pod}{where}{code}{detail.rstrip('.')}."
