"""Phase and conditions out of facts: a pure function, so that they never contradict each other.

Exactly one of Ready, Reconciling and Stalled is True (kstatus): it is done or being done, it is coming, it needs help.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import Condition, ConditionStatus, JobStatus, Phase, Restart, RestartScope
from neuron_operator.planning.observation.waiting import Wait
from neuron_operator.planning.scheduling.adapter import Admission
from neuron_operator.planning.validation.validation import Accepted, Refused


@dataclass(frozen=True, slots=True)
class End:
    """How the job ended."""

    reason: Reason | str
    message: str

    @property
    def success(self) -> bool:
        """Return whether training ended as configured."""
        return self.reason is Reason.COMPLETED


@dataclass(frozen=True, slots=True)
class Pause:
    """How far the job is with being suspended."""

    reason: Reason
    """WaitingForCheckpoint, Suspending, Suspended; CannotResume where the job is not suspended for that."""
    message: str

    @property
    def complete(self) -> bool:
        """Return whether no pod runs."""
        return self.reason is Reason.SUSPENDED

    @property
    def begun(self) -> bool:
        """Return whether anything is done about it."""
        return self.reason is not Reason.CANNOT_RESUME


@dataclass(frozen=True, slots=True)
class Facts:
    """All that phase and conditions depend on."""

    generation: int
    config: Accepted | Refused | None
    """None: recorded before, not looked at again (the job is over)."""
    nodes: int = 0
    existing: int = 0
    ready: int = 0
    wait: Wait | None = None
    admission: Admission | None = None
    """The word of the queue or the gang scheduler; None: what was recorded before stands."""
    stepping: bool = False
    """A step has been finished since the pods came up last."""
    compiling: str = ""
    """How far the compile phase is; empty where there is none."""
    restart: Restart | None = None
    """The failure that is being recovered from."""
    end: End | None = None
    gate: Wait | None = None
    """What the job waits for, without pods."""
    pause: Pause | None = None
    """Where spec.suspend is set."""

    @property
    def stopping(self) -> Pause | None:
        """A suspension whose pods were told to go, or are gone."""
        return self.pause if self.pause and self.pause.reason in (Reason.SUSPENDING, Reason.SUSPENDED) else None


_NOT_ASKED: Final = (Reason.SCHEDULER_NOT_ENABLED, Reason.SCHEDULER_NOT_INSTALLED, Reason.QUEUE_NOT_FOUND)
"""Why pods are not even created."""


@dataclass(frozen=True, slots=True)
class _ConditionDraft:
    status: bool
    reason: Reason | str
    message: str


def phase(facts: Facts) -> Phase:
    """One word."""
    if facts.end:
        return Phase.SUCCEEDED if facts.end.success else Phase.FAILED
    if isinstance(facts.config, Refused):
        return Phase.PENDING
    if facts.pause and facts.pause.begun:
        return Phase.SUSPENDED if facts.pause.complete else Phase.SUSPENDING
    if facts.restart and not facts.gate:
        return Phase.RESTARTING
    if facts.gate or facts.wait or not facts.existing:
        return Phase.PENDING
    if facts.stepping:
        return Phase.RUNNING
    return Phase.COMPILING if facts.compiling else Phase.STARTING


def conditions(facts: Facts, before: Iterable[Condition], now: datetime) -> tuple[Condition, ...]:
    """Every condition, in a fixed order; the transition time moves only with the status.

    Conditions of types that this release does not know stay as they are.
    """
    old = {condition.type: condition for condition in before}
    drafts = _drafts(facts, old)
    own = (_condition(kind, draft, old.get(kind), facts.generation, now) for kind, draft in drafts.items())
    return (*own, *(condition for kind, condition in old.items() if kind not in drafts))


def recorded_end(status: JobStatus) -> End | None:
    """Return how a job that is over has ended, by its conditions; None where somebody else wrote its status."""
    kind = ConditionType.SUCCEEDED if status.phase is Phase.SUCCEEDED else ConditionType.FAILED
    condition = next((condition for condition in status.conditions if condition.type is kind), None)
    return End(condition.reason, condition.message) if condition else None


def headline(facts: Facts) -> tuple[ConditionType, Reason | str, str]:
    """Return the first condition that applies, of Ready, Reconciling and Stalled, with reason and message."""
    ready, reconciling, stalled = ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED
    if facts.end:
        return (ready if facts.end.success else stalled), facts.end.reason, facts.end.message
    if isinstance(facts.config, Refused):
        return stalled, facts.config.reason, facts.config.message
    if facts.pause and facts.pause.begun:
        return (ready if facts.pause.complete else reconciling), facts.pause.reason, facts.pause.message
    if facts.gate:
        return stalled, facts.gate.reason, facts.gate.message
    if facts.wait:
        return (stalled if facts.wait.stalled else reconciling), facts.wait.reason, facts.wait.message
    if facts.restart:
        return reconciling, facts.restart.cause, sentence(facts.restart)
    if not facts.existing:
        return reconciling, Reason.NOT_STARTED, "No pods have been created yet."
    if facts.stepping:
        return ready, Reason.STEPS_ADVANCING, "Optimizer steps are being finished."
    if facts.compiling:
        return reconciling, Reason.COMPILING, facts.compiling
    if facts.ready == facts.nodes:
        message = "All pods are up; the processes are loading or compiling."
        return reconciling, Reason.WAITING_FOR_FIRST_STEP, message
    return reconciling, Reason.PODS_CREATED, "The pods have been created and are starting."


_REMEDIES: Final[Mapping[str, str]] = {
    RestartScope.PROCESS: "All processes are restarted in their pods",
    RestartScope.POD: "The pod is replaced, the others wait for it",
    RestartScope.GANG: "All pods are replaced",
}


def resumed_from(restart: Restart) -> str:
    """Return the step that training went on from, and where it was if not in storage."""
    places = {"Memory": " in memory", "Peer": " in another node's memory"}
    return f"step {restart.resumed_from_step}{places.get(restart.resume_source, '')}"


def sentence(restart: Restart) -> str:
    """A failure and what is done about it."""
    if restart.cause is Reason.SUSPENDED:
        return f"The job was {restart.message}; it continues with new pods."
    if restart.cause in (Reason.SCALED_DOWN, Reason.SCALED_UP):
        at = f" after step {restart.step}" if restart.step else ""
        return f"{restart.cause}{at}: {restart.message}"
    if restart.cause is Reason.HANG:
        at = f" after step {restart.step}" if restart.step else ""
        return f"Hang: {restart.message}{at}. All pods are replaced."
    if restart.cause is Reason.NO_CHECKPOINT_FOUND:
        at = f" after step {restart.step}" if restart.step else ""
        return f"NoCheckpointFound: pod {restart.pod}{at}: {restart.message.rstrip('.')}. The job waits."
    who = f"rank {restart.rank} in pod {restart.pod}" if restart.rank is not None else f"pod {restart.pod}"
    where = f" on node {restart.node}" if restart.node else ""
    codes = (("exit code", restart.exit_code), ("Neuron code", restart.neuron_code))
    detail = ", ".join(f"{name} {code}" for name, code in codes if code is not None)
    code = f" ({detail})" if detail else ""
    message = f": {restart.message}" if restart.message else ""
    done = _REMEDIES.get(restart.restart_scope, f"Restarted: {restart.restart_scope}")
    at = f" after step {restart.step}" if restart.step else ""
    return f"{restart.cause}: {who}{where}{code}{at}{message.rstrip('.')}. {done}."


def _drafts(facts: Facts, before: Mapping[ConditionType | str, Condition]) -> dict[ConditionType, _ConditionDraft]:
    kind, reason, message = headline(facts)
    kinds = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED)
    return {
        **{condition_type: _ConditionDraft(condition_type is kind, reason, message) for condition_type in kinds},
        ConditionType.CONFIG_VALID: _config_valid(facts, before.get(ConditionType.CONFIG_VALID)),
        ConditionType.ADMITTED: _admitted(facts, before.get(ConditionType.ADMITTED)),
        ConditionType.PODS_READY: _pods_ready(facts),
        ConditionType.PROGRESSING: _progressing(facts),
        ConditionType.RESTARTING: _restarting(facts),
        ConditionType.SUSPENDED: _suspended(facts),
        ConditionType.SUCCEEDED: _ended(facts, success=True),
        ConditionType.FAILED: _ended(facts, success=False),
    }


def _config_valid(facts: Facts, before: Condition | None) -> _ConditionDraft:
    if facts.config is None:
        if before is None:
            return _ConditionDraft(True, Reason.CONFIG_ACCEPTED, "")
        return _ConditionDraft(before.status is ConditionStatus.TRUE, before.reason, before.message)
    return _ConditionDraft(isinstance(facts.config, Accepted), facts.config.reason, facts.config.message)


def _admitted(facts: Facts, before: Condition | None) -> _ConditionDraft:
    if facts.end:
        return _ConditionDraft(False, facts.end.reason, "The job is over.")
    if facts.stopping:
        return _ConditionDraft(False, facts.stopping.reason, facts.stopping.message)
    if facts.admission:
        return _ConditionDraft(facts.admission.admitted, facts.admission.reason, facts.admission.message)
    if facts.wait and facts.wait.reason in _NOT_ASKED:
        return _ConditionDraft(False, facts.wait.reason, facts.wait.message)
    if before is None or not facts.existing:
        return _ConditionDraft(False, Reason.NOT_STARTED, "No pods have been created yet.")
    return _ConditionDraft(before.status is ConditionStatus.TRUE, before.reason, before.message)


def _pods_ready(facts: Facts) -> _ConditionDraft:
    if facts.end:
        return _ConditionDraft(False, facts.end.reason, "The job is over.")
    if facts.stopping:
        return _ConditionDraft(False, facts.stopping.reason, facts.stopping.message)
    if facts.gate:
        return _ConditionDraft(False, facts.gate.reason, "The job waits.")
    if not (facts.existing or facts.wait):
        return _ConditionDraft(False, Reason.NOT_STARTED, "There are no pods.")
    if facts.wait:
        return _ConditionDraft(False, facts.wait.reason, facts.wait.message)
    if facts.ready == facts.nodes:
        return _ConditionDraft(True, Reason.ALL_PODS_READY, "Every pod is up.")
    return _ConditionDraft(False, Reason.PODS_CREATED, "Not every pod is up yet; see readyNodes.")


def _progressing(facts: Facts) -> _ConditionDraft:
    if facts.end:
        return _ConditionDraft(False, facts.end.reason, "The job is over.")
    if isinstance(facts.config, Refused):
        return _ConditionDraft(
            False, facts.config.reason, "The configuration is refused; pods that run are left alone."
        )
    if facts.stopping:
        return _ConditionDraft(False, facts.stopping.reason, facts.stopping.message)
    if facts.gate:
        return _ConditionDraft(False, facts.gate.reason, "The job waits.")
    if facts.restart:
        return _ConditionDraft(False, facts.restart.cause, "No step has been finished since the failure.")
    if not facts.existing:
        return _ConditionDraft(False, Reason.NOT_STARTED, "There are no pods.")
    if facts.stepping:
        return _ConditionDraft(True, Reason.STEPS_ADVANCING, "Optimizer steps are being finished.")
    if facts.compiling:
        return _ConditionDraft(False, Reason.COMPILING, facts.compiling)
    return _ConditionDraft(False, Reason.WAITING_FOR_FIRST_STEP, "No step has been finished yet.")


def _restarting(facts: Facts) -> _ConditionDraft:
    if facts.end:
        return _ConditionDraft(False, facts.end.reason, "The job is over.")
    if facts.stopping:
        return _ConditionDraft(False, facts.stopping.reason, facts.stopping.message)
    if facts.gate:
        return _ConditionDraft(False, facts.gate.reason, "The job waits.")
    if facts.restart:
        return _ConditionDraft(True, facts.restart.cause, sentence(facts.restart))
    return _ConditionDraft(False, Reason.RUNNING, "Nothing is being restarted.")


def _suspended(facts: Facts) -> _ConditionDraft:
    if facts.end:
        return _ConditionDraft(False, facts.end.reason, "The job is over.")
    if facts.pause:
        return _ConditionDraft(facts.pause.complete, facts.pause.reason, facts.pause.message)
    return _ConditionDraft(False, Reason.RUNNING, "spec.suspend is not set.")


def _ended(facts: Facts, *, success: bool) -> _ConditionDraft:
    if facts.end is None:
        return _ConditionDraft(False, Reason.RUNNING, "The job is not over.")
    return _ConditionDraft(facts.end.success is success, facts.end.reason, facts.end.message)


def _condition(
    kind: ConditionType, draft: _ConditionDraft, before: Condition | None, generation: int, now: datetime
) -> Condition:
    status = ConditionStatus.TRUE if draft.status else ConditionStatus.FALSE
    same = before is not None and before.status is status
    return Condition(
        type=kind,
        status=status,
        reason=draft.reason,
        message=draft.message,
        observed_generation=generation,
        last_transition_time=before.last_transition_time if same and before else now.replace(microsecond=0),
    )
