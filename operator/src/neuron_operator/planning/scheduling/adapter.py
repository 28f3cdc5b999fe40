"""What a scheduler of gangs is to the operator: marks on pods, an object for the group, and a word about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.reasons import Reason
from neuron_operator.planning.observation.observation import GroupKind, Pod, QueueKind
from neuron_operator.planning.observation.waiting import Wait

Json = dict[str, Any]

SILENCE_SECONDS: Final = 60.0
"""A scheduler that runs says something about a new pod within seconds."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether the pods may start, by the word of the scheduler."""

    admitted: bool
    reason: Reason
    message: str
    since: datetime | None = None
    """When they were admitted, where that is known."""
    stalled: bool = False
    """Whether somebody must help."""

    @property
    def wait(self) -> Wait | None:
        """The wait that this means for the job; None: none."""
        return None if self.admitted else Wait(self.reason, self.message, self.stalled)


@dataclass(frozen=True, slots=True)
class GangRequest:
    """The gang of an attempt."""

    job: NeuronTrainingJob
    attempt: int
    count: int
    """Its pods."""

    @property
    def name(self) -> str:
        """Name of the object that stands for the gang."""
        return group_name(self.job, self.attempt)


@dataclass(frozen=True, slots=True)
class GangState:
    """What a word about a gang depends on."""

    job: NeuronTrainingJob
    group: Mapping[str, Any] | None
    """The object that stands for it, as it is in the cluster."""
    pods: Sequence[Pod]
    """Those of the attempt that live, at least one."""
    now: datetime


@dataclass(frozen=True, slots=True)
class PodConventions:
    """What a scheduler does with pods beyond placing them; the defaults are those of one that does nothing else."""

    finalizer: str = ""
    """Holds pods that have ended until a replacement exists; empty: none does."""
    finished_annotations: Mapping[str, str] = field(default_factory=dict)
    """Set on pods that are not replaced any more, so that their group counts as finished."""
    managed_label: str = ""
    """Is "true" on pods that the scheduler's webhook has seen."""
    follows_pod_fields: bool = True
    """It follows priorityClassName and podAffinity of the pods; otherwise it has marks of its own for both."""
    reserved_keys: tuple[str, ...] = ()
    """Labels and annotations that are its own; one that ends with `/` is a prefix."""

    def is_reserved(self, key: str) -> bool:
        """Return whether a label or annotation is the scheduler's own."""
        return any(key.startswith(name) if name.endswith("/") else key == name for name in self.reserved_keys)


class GangSchedulerAdapter(Protocol):
    """One scheduler."""

    @property
    def title(self) -> str:
        """Its name for people."""
        ...

    @property
    def kind(self) -> GroupKind:
        """Kind of the object that stands for the gang."""
        ...

    @property
    def queue(self) -> QueueKind | None:
        """Kind of its queues, where a job names one that must exist."""
        ...

    @property
    def pods(self) -> PodConventions:
        """Its conventions for pods: finalizers, labels, fields."""
        ...

    def mark(self, request: GangRequest, /) -> Json:
        """Return what a pod's template needs: labels, annotations, fields of its spec."""
        ...

    def group(self, request: GangRequest, pod: Mapping[str, Any], /) -> Json | None:
        """`spec` of the object for the gang of pods like this; None where the scheduler makes it itself."""
        ...

    def admission(self, state: GangState, /) -> Admission:
        """Return whether the gang is admitted, and why not."""
        ...


def group_name(job: NeuronTrainingJob, attempt: int) -> str:
    """`<job>-<attempt>`: a new attempt is a new gang, whatever is left of the last one."""
    return f"{job.metadata.name}-{attempt}"


def conditions(body: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    """Return the conditions of an object by type."""
    return {
        str(condition.get("type")): condition
        for condition in ((body or {}).get("status") or {}).get("conditions") or ()
    }


def transition_time(condition: Mapping[str, Any] | None) -> datetime | None:
    """Return when a condition last changed."""
    text = (condition or {}).get("lastTransitionTime")
    return datetime.fromisoformat(text) if text else None


def placed(pods: Sequence[Pod]) -> Admission | None:
    """Return whether the gang has its nodes: they are given together, so one that lacks its own is a replacement."""
    if not any(pod.node for pod in pods):
        return None
    times = [pod.scheduled_at for pod in pods if pod.scheduled_at]
    message = "The gang has its nodes." if all(pod.node for pod in pods) else "The gang was admitted together."
    return Admission(True, Reason.ADMITTED, message, since=max(times, default=None))


def unresponsive(title: str, state: GangState) -> Admission | None:
    """Nobody looks at these pods: no scheduler of that name runs."""
    pods, bound = state.pods, state.now - timedelta(seconds=SILENCE_SECONDS)
    if any(pod.node or pod.seen_by_scheduler or not pod.created_at or pod.created_at > bound for pod in pods):
        return None
    message = (
        f"{title} has reported nothing about the pods for {SILENCE_SECONDS:.0f} s: no scheduler called "
        f"{pods[0].scheduler or 'default-scheduler'} runs. Start it, or set spec.scheduling.schedulerName to its name "
        "(suspend the job for that)."
    )
    return Admission(False, Reason.SCHEDULER_SILENT, message, stalled=True)


def waiting_for_gang(title: str, message: str, pods: Sequence[Pod]) -> Admission:
    """There is no place for all of them."""
    quoted = message or next((pod.unschedulable for pod in pods if pod.unschedulable), "")
    quote = f" {title} says: {quoted.rstrip('.')}." if quoted else ""
    return Admission(
        False,
        Reason.WAITING_FOR_GANG,
        f"{len(pods)} pods wait to be placed together.{quote} Add nodes, or ask for less (spec.platform, "
        "spec.podTemplate).",
    )
