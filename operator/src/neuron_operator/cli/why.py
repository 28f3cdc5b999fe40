"""`kubectl neuron why`: what a job waits for, or why it ended: one sentence, what to do, and what was seen."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from neuron_api.reference.reasons import meaning
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import Condition, Phase
from neuron_operator.planning.observation import waiting
from neuron_operator.planning.status import duration
from neuron_operator.planning.status.conditions import sentence

from .connection import Connection
from .job_snapshot import JobSnapshot, is_true, look, told

SILENCE: Final = 300.0
"""Seconds without a finished step after which a job that is Running is no longer said to be well."""
_EVENTS: Final = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """What to print."""

    sentence: str
    reason: Reason | str | None = None
    """It has the remedy, unless it is of another release."""
    remedy: str = ""
    """In place of the reason's own."""
    seen: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """For a terminal and for a pipe alike."""
        do = self.remedy or (meaning(self.reason) if self.reason else "")
        lines = [
            _without_remedy(self.sentence, do),
            *([f"  what to do   {do}"] if do else ()),
            *(f"  seen         {one}" for one in self.seen),
        ]
        return "\n".join(lines) + "\n"


def _without_remedy(sentence: str, remedy: str) -> str:
    """Less a last sentence that the remedy has as well."""
    before, _, last = sentence.rpartition(". ")
    return f"{before}." if before and last in remedy else sentence


def run(connection: Connection, name: str) -> str:
    """The text to print."""
    seen = look(connection, name)
    return with_resume(answer(seen, datetime.now(UTC)), seen).text


def with_resume(found: Answer, seen: JobSnapshot) -> Answer:
    """And what the newest start took from its checkpoint, which explains a loss or a rate that nobody expects."""
    return replace(found, seen=(*found.seen, *seen.job.status.resume))


def answer(seen: JobSnapshot, now: datetime) -> Answer:
    """The first case that applies; what the pods say now is worth more than what the status said."""
    job, status = seen.job, seen.job.status
    name, headline = job.metadata.name, seen.headline
    if job.metadata.deletion_timestamp is not None:
        ago = duration.since(job.metadata.deletion_timestamp, now)
        return Answer(f"{name} has been in deletion for {ago}.", remedy=_wait_for_pods(seen), seen=_seen(seen, now))
    if headline is None:
        return _unseen(seen, now)
    if status.finished:
        return _ended(seen, headline, now)
    if status.observed_generation < job.metadata.generation:
        said = (
            f"{name}: the operator has not looked yet at the spec as it is now (generation {job.metadata.generation})."
        )
        return Answer(said, remedy=_OPERATOR, seen=(f"before that: {told(headline.reason, headline.message)}",))
    waits = waiting.for_pods(job, seen.pods)
    if waits is not None:
        return Answer(_waits(name, waits.reason, waits.message, headline, now), waits.reason, seen=_seen(seen, now))
    if headline.type is ConditionType.READY:
        return _well(seen, headline, now)
    return Answer(
        _waits(name, headline.reason, headline.message, headline, now), headline.reason, seen=_seen(seen, now)
    )


_OPERATOR: Final = (
    "If this stays so, check that the operator runs (its Deployment, its log) and watches this namespace."
)


def _unseen(seen: JobSnapshot, now: datetime) -> Answer:
    created = seen.job.metadata.creation_timestamp
    since = f" since it was created {duration.since(created, now)} ago" if created else ""
    said = f"{seen.job.metadata.name} waits for the operator, which has not looked at it{since}."
    return Answer(said, remedy=_OPERATOR, seen=_seen(seen, now))


def _ended(seen: JobSnapshot, headline: Condition, now: datetime) -> Answer:
    status, name = seen.job.status, seen.job.metadata.name
    ago = f" {duration.since(status.completion_time, now)} ago" if status.completion_time else ""
    at = f" at step {status.progress.step}" if status.progress and status.progress.step else ""
    if status.phase is Phase.SUCCEEDED:
        return Answer(f"{name} has ended as configured{ago}{at}.", headline.reason)
    failed = f"{name} failed{ago}{at}: {_stop(told(headline.reason, headline.message))}"
    last = (f"last restart: {sentence(status.restarts[-1])}",) if status.restarts else ()
    logs = f"kubectl neuron logs {name} --first-failure -n {seen.job.metadata.namespace}"
    return Answer(failed, headline.reason, seen=(*last, f"the log of the first failure: {logs}"))


def _well(seen: JobSnapshot, headline: Condition, now: datetime) -> Answer:
    name, progress = seen.job.metadata.name, seen.job.status.progress
    if progress is None or progress.last_step_time is None:
        return Answer(f"{name} waits for nothing: {_stop(headline.message)}", headline.reason)
    of = f" of {progress.max_steps}" if progress.max_steps else ""
    ago = (now - progress.last_step_time).total_seconds()
    if ago < SILENCE:
        said = f"{name} waits for nothing: step {progress.step}{of} was finished {duration.text(ago)} ago."
        return Answer(said, headline.reason)
    said = f"{name} has told of no finished step for {duration.text(ago)}, since step {progress.step}{of}."
    return Answer(said, remedy=_SILENT, seen=_seen(seen, now))


_SILENT: Final = (
    "A step may take that long, a process may hang, or no operator writes the status: see the log of pod 0, and "
    "whether the operator's Deployment is available."
)


def _waits(name: str, reason: Reason | str, message: str, headline: Condition, now: datetime) -> str:
    verb = "has stood still" if headline.type is ConditionType.STALLED else "has waited"
    return f"{name} {verb} for {duration.since(headline.last_transition_time, now)}: {_stop(told(reason, message))}"


def _stop(message: str) -> str:
    return message if message.endswith((".", "!", "?")) else f"{message}."


def _wait_for_pods(seen: JobSnapshot) -> str:
    names = [pod.name for pod in seen.pods]
    return f"Its pods go first: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}." if names else ""


def _seen(seen: JobSnapshot, now: datetime) -> tuple[str, ...]:
    return (*_others(seen), *_warnings(seen, now), *(f"not everything: {why}" for why in seen.unread))


def _others(seen: JobSnapshot) -> Iterator[str]:
    """What else is told by conditions: a restart that is under way, a suspension."""
    usual = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED, ConditionType.CONFIG_VALID)
    healthy = (*usual, ConditionType.PODS_READY, ConditionType.PROGRESSING)
    headline = seen.headline.message if seen.headline else ""
    for one in seen.job.status.conditions:
        if is_true(one) and one.type not in healthy and one.message != headline:
            yield f"{one.type}: {told(one.reason, one.message)}"


def _warnings(seen: JobSnapshot, now: datetime) -> Iterator[str]:
    """Of pods, the newest of each kind; the operator's own say what the conditions say."""
    newest = {(one.about, one.reason): one for one in seen.events if one.is_warning and one.about}
    for one in sorted(newest.values(), key=lambda event: event.time)[-_EVENTS:]:
        times = f", {one.count} times" if one.count > 1 else ""
        yield f"{one.about}: {one.reason} {duration.since(one.time, now)} ago{times}: {one.note}"
