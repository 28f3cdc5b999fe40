"""What a live command looks at: the job, its pods and its events, typed; what may not be read is left out and named."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from neuron_api.resource.job import NeuronTrainingJob, parse
from neuron_api.resource.reasons import ConditionType
from neuron_api.resource.status import Condition, ConditionStatus
from neuron_operator.kube.errors import ClusterError, MayNotError
from neuron_operator.planning.observation import pods
from neuron_operator.planning.observation.observation import Pod

from .connection import Connection, Json

_MAX_PODS: Final = 3
"""Pods that are not up, whose events are read: they tell the same."""
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
HEADLINE: Final = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED)


@dataclass(frozen=True, slots=True)
class Event:
    """One Kubernetes Event."""

    time: datetime
    is_warning: bool
    subject: str
    """`pod tiny-0-1`; empty for the job itself."""
    reason: str
    note: str
    count: int


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """Everything that was read at one moment."""

    job: NeuronTrainingJob
    pods: tuple[Pod, ...] = ()
    """Of the current attempt, by index."""
    events: tuple[Event, ...] = ()
    """Newest last."""
    unread: tuple[str, ...] = ()
    """What this user may not read, in sentences."""

    @property
    def headline(self) -> Condition | None:
        """The one of Ready, Reconciling and Stalled that is True; None before the operator's first look."""
        conditions = self.job.status.conditions
        return next((condition for condition in conditions if condition.type in HEADLINE and is_true(condition)), None)


def is_true(condition: Condition) -> bool:
    """Return whether a condition holds."""
    return condition.status is ConditionStatus.TRUE


def reason_and_message(reason: str, message: str) -> str:
    """Both, once: sentences about a failure begin with its cause already."""
    return message if message.startswith(f"{reason}: ") else f"{reason}: {message}"


def look(connection: Connection, name: str) -> JobSnapshot:
    """Three or more requests; only the job must be readable."""
    body = connection.job(name)
    job = parse_job(body)
    unread = [f"{field} (kubectl-neuron is older or newer than the operator)" for field in job.unread]
    listed = _allowed(lambda: connection.pods(name), unread)
    own = [pod for item in listed if pods.owner_uid(item) == job.metadata.uid and (pod := pods.read(item))]
    current = sorted((pod for pod in own if pod.attempt == job.status.attempt), key=lambda pod: pod.index)
    down = [pod for pod in current if not pod.ready and not pod.succeeded][:_MAX_PODS]
    events: list[Event] = []
    for uid, subject in ((job.metadata.uid, ""), *((pod.uid, f"pod {pod.name}") for pod in down)):
        events += [_event(body, subject) for body in _events(connection, uid, unread)]
    return JobSnapshot(job, tuple(current), tuple(sorted(events, key=lambda event: event.time)), tuple(unread))


def parse_job(body: Json) -> NeuronTrainingJob:
    """Typed; an operator of another version may have written what this one does not know."""
    try:
        return parse(body)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        raise ClusterError(
            f"{body.get('metadata', {}).get('name')} cannot be read, kubectl-neuron is older or newer than the "
            f"operator: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from None


def _events(connection: Connection, uid: str, unread: list[str]) -> list[Json]:
    return _allowed(lambda: connection.events(uid), unread)


def _allowed(read: Callable[[], Iterable[Json]], unread: list[str]) -> list[Json]:
    try:
        return list(read())
    except MayNotError as problem:
        if str(problem) not in unread:
            unread.append(str(problem))
        return []


def _event(body: Json, subject: str) -> Event:
    series: dict[str, Any] = body.get("series") or {}
    time = series.get("lastObservedTime") or body.get("lastTimestamp") or body.get("eventTime")
    time = time or body.get("firstTimestamp") or body.get("metadata", {}).get("creationTimestamp")
    return Event(
        time=datetime.fromisoformat(time) if time else _LONG_AGO,
        is_warning=body.get("type") == "Warning",
        subject=subject,
        reason=str(body.get("reason") or ""),
        note=" ".join(str(body.get("message") or "").split()),
        count=int(series.get("count") or body.get("count") or 1),
    )
