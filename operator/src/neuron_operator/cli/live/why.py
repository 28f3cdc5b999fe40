"""`kubectl neuron why`: what a job waits for, or why it ended: one sentence, what to do, and what was seen."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from neuron_api.reference.reasons import meaning
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import Condition, Phase
from neuron_operator.planning.observation import waiting
from neuron_operator.planning.status import account, spikes, stragglers
from neuron_operator.planning.status.conditions import sentence
from neuron_operator.planning.status.pace import format_age, format_duration

from .connection import Connection
from .job_snapshot import JobSnapshot, is_true, look, reason_and_message

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
    evidence: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Return the lines to print, for a terminal and for a pipe alike."""
        do = self.remedy or (meaning(self.reason) if self.reason else "")
        lines = [
            _without_remedy(self.sentence, do),
            *([f"  what to do   {do}"] if do else ()),
            *(f"  seen         {line}" for line in self.evidence),
        ]
        return "\n".join(lines) + "\n"

    @property
    def data(self) -> dict[str, Any]:
        """Return the same for programs."""
        return {
            "sentence": self.sentence,
            "reason": str(self.reason) if self.reason else None,
            "remedy": self.remedy or (meaning(self.reason) if self.reason else ""),
            "evidence": list(self.evidence),
        }


def _without_remedy(sentence: str, remedy: str) -> str:
    """Less a last sentence that the remedy has as well."""
    before, _, last = sentence.rpartition(". ")
    return f"{before}." if before and last in remedy else sentence


def look_and_answer(connection: Connection, name: str) -> tuple[Answer, NeuronTrainingJob]:
    """Return the answer, and the job that it is about."""
    snapshot = look(connection, name)
    return with_resume(answer(snapshot, datetime.now(UTC)), snapshot), snapshot.job


def with_resume(base: Answer, snapshot: JobSnapshot) -> Answer:
    """And who is slow, and the last unusual step; what the newest start took from its checkpoint, which explains a loss
    or a rate that nobody expects; and what most of the lost time went into."""
    status = snapshot.job.status
    lost = account.largest_loss(snapshot.job, datetime.now(UTC))
    slow = map(stragglers.sentence, status.stragglers)
    unusual = map(spikes.sentence, status.spikes[-1:])
    return replace(base, evidence=(*base.evidence, *slow, *unusual, *status.resume, *lost))


def answer(snapshot: JobSnapshot, now: datetime) -> Answer:
    """The first case that applies; what the pods say now is worth more than what the status said."""
    job, status = snapshot.job, snapshot.job.status
    name, headline = job.metadata.name, snapshot.headline
    if job.metadata.deletion_timestamp is not None:
        ago = format_age(job.metadata.deletion_timestamp, now)
        return Answer(
            f"{name} has been in deletion for {ago}.",
            remedy=_wait_for_pods(snapshot),
            evidence=_evidence(snapshot, now),
        )
    if headline is None:
        return _unseen(snapshot, now)
    if status.finished:
        return _ended(snapshot, headline, now)
    if status.observed_generation < job.metadata.generation:
        text = (
            f"{name}: the operator has not looked yet at the spec as it is now (generation {job.metadata.generation})."
        )
        return Answer(
            text, remedy=_OPERATOR, evidence=(f"before that: {reason_and_message(headline.reason, headline.message)}",)
        )
    waits = waiting.for_pods(job, snapshot.pods)
    if waits is not None:
        return Answer(
            _waits(name, waits.reason, waits.message, headline, now), waits.reason, evidence=_evidence(snapshot, now)
        )
    if headline.type is ConditionType.READY:
        return _well(snapshot, headline, now)
    return Answer(
        _waits(name, headline.reason, headline.message, headline, now),
        headline.reason,
        evidence=_evidence(snapshot, now),
    )


_OPERATOR: Final = (
    "If this stays so, check that the operator runs (its Deployment, its log) and watches this namespace."
)


def _unseen(snapshot: JobSnapshot, now: datetime) -> Answer:
    created = snapshot.job.metadata.creation_timestamp
    since = f" since it was created {format_age(created, now)} ago" if created else ""
    text = f"{snapshot.job.metadata.name} waits for the operator, which has not looked at it{since}."
    return Answer(text, remedy=_OPERATOR, evidence=_evidence(snapshot, now))


def _ended(snapshot: JobSnapshot, headline: Condition, now: datetime) -> Answer:
    status, name = snapshot.job.status, snapshot.job.metadata.name
    ago = f" {format_age(status.completion_time, now)} ago" if status.completion_time else ""
    at = f" at step {status.progress.step}" if status.progress and status.progress.step else ""
    if status.phase is Phase.SUCCEEDED:
        return Answer(f"{name} has ended as configured{ago}{at}.", headline.reason)
    failed = f"{name} failed{ago}{at}: {_stop(reason_and_message(headline.reason, headline.message))}"
    last = (f"last restart: {sentence(status.restarts[-1])}",) if status.restarts else ()
    logs = f"kubectl neuron logs {name} --first-failure -n {snapshot.job.metadata.namespace}"
    return Answer(failed, headline.reason, evidence=(*last, f"the log of the first failure: {logs}"))


def _well(snapshot: JobSnapshot, headline: Condition, now: datetime) -> Answer:
    name, progress = snapshot.job.metadata.name, snapshot.job.status.progress
    if progress is None or progress.last_step_time is None:
        return Answer(f"{name} waits for nothing: {_stop(headline.message)}", headline.reason)
    goal = f" of {progress.max_steps}" if progress.max_steps else ""
    ago = (now - progress.last_step_time).total_seconds()
    if ago < SILENCE:
        text = f"{name} waits for nothing: step {progress.step}{goal} was finished {format_duration(ago)} ago."
        return Answer(text, headline.reason)
    text = f"{name} has reported no finished step for {format_duration(ago)}, since step {progress.step}{goal}."
    return Answer(text, remedy=_SILENT, evidence=_evidence(snapshot, now))


_SILENT: Final = (
    "A step may take that long, a process may hang, or no operator writes the status: see the log of pod 0, and "
    "whether the operator's Deployment is available."
)


def _waits(name: str, reason: Reason | str, message: str, headline: Condition, now: datetime) -> str:
    verb = "has stood still" if headline.type is ConditionType.STALLED else "has waited"
    waited = format_age(headline.last_transition_time, now)
    return f"{name} {verb} for {waited}: {_stop(reason_and_message(reason, message))}"


def _stop(message: str) -> str:
    return message if message.endswith((".", "!", "?")) else f"{message}."


def _wait_for_pods(snapshot: JobSnapshot) -> str:
    names = [pod.name for pod in snapshot.pods]
    return f"Its pods go first: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}." if names else ""


def _evidence(snapshot: JobSnapshot, now: datetime) -> tuple[str, ...]:
    return (*_others(snapshot), *_warnings(snapshot, now), *(f"not everything: {why}" for why in snapshot.unread))


def _others(snapshot: JobSnapshot) -> Iterator[str]:
    """Return what other conditions say: a restart that is under way, a suspension."""
    usual = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED, ConditionType.CONFIG_VALID)
    healthy = (*usual, ConditionType.PODS_READY, ConditionType.PROGRESSING)
    headline = snapshot.headline.message if snapshot.headline else ""
    for condition in snapshot.job.status.conditions:
        if is_true(condition) and condition.type not in healthy and condition.message != headline:
            yield f"{condition.type}: {reason_and_message(condition.reason, condition.message)}"


def _warnings(snapshot: JobSnapshot, now: datetime) -> Iterator[str]:
    """Return the newest warning of each kind about pods; the operator's own repeat the conditions."""
    newest = {(event.subject, event.reason): event for event in snapshot.events if event.is_warning and event.subject}
    for event in sorted(newest.values(), key=lambda event: event.time)[-_EVENTS:]:
        times = f", {event.count} times" if event.count > 1 else ""
        yield f"{event.subject}: {event.reason} {format_age(event.time, now)} ago{times}: {event.note}"
