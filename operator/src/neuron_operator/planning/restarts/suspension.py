"""spec.suspend: when pods are taken away, and how the job goes on after that.

    spec.suspend seen   is the next checkpoint near? then go on to it, within a bound; else stop at once
    stop decided        pods are deleted: SIGTERM makes them finish the step and save
    no pod runs         Suspended
    spec.suspend false  before the stop: as if nothing had been; after it: a new attempt that no budget counts

As everywhere in the planner, a decision is only written down here; the next pass acts on what was saved.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from neuron_api.config import TrainingConfig
from neuron_api.resource.reasons import Reason
from neuron_api.resource.spec import JobSpec, RestartPolicy
from neuron_api.resource.status import JobStatus, Restart, RestartScope, SuspensionStatus
from neuron_operator.planning.status.conditions import End, Pause

from . import checkpoint_gate, ledger
from .ladder import RestartDecision


@dataclass(frozen=True, slots=True)
class SuspensionFacts:
    """What a decision about spec.suspend depends on, beside the spec and the status."""

    config: TrainingConfig | None
    """None: it is refused; nobody knows when it saves."""
    stepping: bool
    """The pods that are there have finished a step."""
    active: bool
    """Whether a pod of the job is there that has not ended."""


def decide(spec: JobSpec, status: JobStatus, now: datetime, facts: SuspensionFacts) -> RestartDecision | None:
    """Decide what spec.suspend changes in the status; None: nothing."""
    current = status.suspension
    if not spec.suspend:
        return _resumed(status, facts.config, spec.restart_policy, now) if current else None
    if is_refused(spec, status, facts) or (current and current.stop_time):
        return None
    if current is None:
        awaited = _awaited(status, facts, spec.suspend_policy.checkpoint_wait_seconds, now)
        current = SuspensionStatus(request_time=now, awaited_step=awaited)
    elif not _is_over(current, status, spec, now) and _trains(status, facts):
        return None
    if current.awaited_step is None or status.suspension:
        current = current.model_copy(update={"stop_time": now})
    return RestartDecision(status.model_copy(update={"suspension": current}))


def is_stopping(status: JobStatus) -> bool:
    """Return whether the pods were told to go, or are gone."""
    return status.suspension is not None and status.suspension.stop_time is not None


def is_refused(spec: JobSpec, status: JobStatus, facts: SuspensionFacts) -> bool:
    """A job that would begin again at step 0 is not stopped (B-11)."""
    return (
        facts.config is not None
        and facts.active
        and not checkpoint_gate.can_resume(status, facts.config, spec.restart_policy)
    )


def seconds_until_stop(spec: JobSpec, status: JobStatus, now: datetime) -> float | None:
    """Return the seconds until a checkpoint is waited for no longer; None: none is waited for."""
    if status.suspension is None or is_stopping(status):
        return None
    return max(0.0, (_bound(status.suspension, spec) - now).total_seconds())


def pause(spec: JobSpec, status: JobStatus, facts: SuspensionFacts) -> Pause | None:
    """Return what the conditions say about it."""
    if status.suspension is None:
        return Pause(Reason.CANNOT_RESUME, _CANNOT_RESUME) if spec.suspend and is_refused(spec, status, facts) else None
    if status.suspension.stop_time is None:
        message = (
            f"spec.suspend is set: the checkpoint of step {status.suspension.awaited_step} is near and is waited for, "
            f"{spec.suspend_policy.checkpoint_wait_seconds} s at most."
        )
        return Pause(Reason.WAITING_FOR_CHECKPOINT, message)
    if facts.active:
        return Pause(Reason.SUSPENDING, "spec.suspend is set: the pods finish their step, save and end.")
    at = f" after step {step}" if (step := ledger.last_step(status)) else ""
    return Pause(Reason.SUSPENDED, f"No pod runs; the job waits{at}. Set spec.suspend to false to continue.")


_CANNOT_RESUME = (
    "spec.suspend is set, but exp_manager.resume_if_exists is False: the job would begin again at step 0, so it "
    "continues. Delete the job to stop it all the same."
)


def _awaited(status: JobStatus, facts: SuspensionFacts, bound: float, now: datetime) -> int | None:
    """Step of the next periodic checkpoint, where it comes within the bound at the job's own pace."""
    progress, config = status.progress, facts.config
    if config is None or progress is None or progress.last_step_time is None or not _trains(status, facts):
        return None
    params = config.exp_manager.checkpoint_callback_params
    every, saved = params.every_n_train_steps, status.checkpoint.step if status.checkpoint else 0
    if not (config.exp_manager.writes_checkpoints and every) or saved == progress.step:
        return None
    # A step that is due and not saved yet is being saved now.
    step = -(-progress.step // every) * every
    seconds = (step - progress.step) * (progress.seconds_per_step or float("inf")) if step > progress.step else 0.0
    since = max(0.0, (now - progress.last_step_time).total_seconds())
    return step if seconds - since <= bound and bound > 0 else None


def _trains(status: JobStatus, facts: SuspensionFacts) -> bool:
    return facts.stepping and ledger.last_open(status) is None


def _is_over(current: SuspensionStatus, status: JobStatus, spec: JobSpec, now: datetime) -> bool:
    """The checkpoint is there, or the bound is reached."""
    saved = status.checkpoint.step if status.checkpoint else 0
    return now >= _bound(current, spec) or saved >= (current.awaited_step or 0)


def _bound(current: SuspensionStatus, spec: JobSpec) -> datetime:
    return current.request_time + timedelta(seconds=spec.suspend_policy.checkpoint_wait_seconds)


def _resumed(status: JobStatus, config: TrainingConfig | None, policy: RestartPolicy, now: datetime) -> RestartDecision:
    stopped = status.suspension.stop_time if status.suspension else None
    going = status.model_copy(update={"suspension": None})
    if stopped is None or status.start_time is None:
        return RestartDecision(going)
    if config is not None and not checkpoint_gate.can_resume(status, config, policy):
        return RestartDecision(
            going, End(Reason.CANNOT_RESUME, f"{_AT_ZERO} {ledger.last_step(status)} finished steps.")
        )
    seconds = round((now - stopped).total_seconds(), 3)
    recorded = ledger.append(going, _line(status, seconds, now))
    update = {
        "checkpoint_gate": None,
        "attempt": status.attempt + 1,
        "pods": (),
        "suspended_seconds": status.suspended_seconds + seconds,
    }
    return RestartDecision(recorded.model_copy(update=update))


_AT_ZERO = "The job was suspended, and exp_manager.resume_if_exists is False: it would begin again at step 0 after"


def _line(status: JobStatus, seconds: float, now: datetime) -> Restart:
    return Restart(
        restart_scope=RestartScope.GANG,
        cause=Reason.SUSPENDED,
        time=now,
        attempt=status.attempt,
        message=f"suspended for {seconds:.0f} s by spec.suspend",
        step=ledger.last_step(status),
        suspended_seconds=seconds,
    )
