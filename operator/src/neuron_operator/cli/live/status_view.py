"""A job at one moment, as lines for people: what `status` prints, what it logs, and what `screen` draws."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from neuron_api.derive import alignment
from neuron_api.loading.loader import load_object
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import Restart
from neuron_operator.planning.status.account import account_line
from neuron_operator.planning.status.conditions import resumed_from, sentence
from neuron_operator.planning.status.pace import format_age, format_duration

from .job_snapshot import HEADLINE, JobSnapshot, is_true, reason_and_message

_EVENTS: Final = 5
_RESTARTS: Final = 3
_USUAL: Final = (*HEADLINE, ConditionType.PODS_READY, ConditionType.PROGRESSING, ConditionType.CONFIG_VALID)
"""What the headline, the nodes and the steps say already."""


@dataclass(frozen=True, slots=True)
class StatusView:
    """One moment, as lines."""

    title: str
    steps: str
    body: tuple[str, ...]
    done: int
    total: int | None
    """None: the job has no last step, or has not told it."""
    over: bool

    @property
    def text(self) -> str:
        """Without a terminal."""
        return "\n".join((self.title, f"  {self.steps}", *self.body)) + "\n"


def view(snapshot: JobSnapshot, now: datetime) -> StatusView:
    """Everything that a person wants to know, most wanted first."""
    job, progress = snapshot.job, snapshot.job.status.progress
    return StatusView(
        title=_title(snapshot, now),
        steps=_steps(snapshot, now),
        body=tuple(
            f"  {line}" for line in (*_facts(snapshot, now), *_restarts(snapshot, now), *_events(snapshot, now))
        ),
        done=progress.step if progress else 0,
        total=progress.max_steps if progress else None,
        over=job.status.finished,
    )


def line(snapshot: JobSnapshot) -> str:
    """The moment in one line, for a log."""
    status = snapshot.job.status
    checkpoint = f", checkpoint {status.checkpoint.step}" if status.checkpoint else ""
    restarts = f", restarts {status.restart_count} ({status.steps_lost} steps lost)" if status.restart_count else ""
    why = f", {snapshot.headline.reason}" if snapshot.headline else ""
    return f"{status.phase}, nodes {_nodes(snapshot) or '-'}, {_numbers(snapshot)}{checkpoint}{restarts}{why}"


def _title(snapshot: JobSnapshot, now: datetime) -> str:
    job, status = snapshot.job, snapshot.job.status
    began = status.start_time
    end = status.completion_time
    ran = f", took {format_duration((end - began).total_seconds())}" if began and end else ""
    started = f", started {format_age(began, now)} ago" if began else ", not started"
    return f"{job.metadata.name}  {status.phase}  in namespace {job.metadata.namespace}{started}{ran}"


def _steps(snapshot: JobSnapshot, now: datetime) -> str:
    progress = snapshot.job.status.progress
    if progress is None:
        return "steps        none has been finished"
    ago = f"; last {format_age(progress.last_step_time, now)} ago" if progress.last_step_time else ""
    return f"steps        {_numbers(snapshot)}{ago}"


def _numbers(snapshot: JobSnapshot) -> str:
    progress = snapshot.job.status.progress
    if progress is None:
        return "no step"
    goal = f" of {progress.max_steps} ({_share(progress.step, progress.max_steps)} %)" if progress.max_steps else ""
    loss = f", loss {progress.loss:.4f}" if progress.loss is not None else ""
    speed = f", {progress.tokens_per_second:,.0f} tokens/s" if progress.tokens_per_second else ""
    remaining, end = seconds_left(snapshot.job), progress.estimated_completion_time
    eta = f", {format_duration(remaining)} left" if remaining is not None else ""
    eta += f" (until {end:%Y-%m-%d %H:%M} UTC)" if eta and end else ""
    return f"step {progress.step}{goal}{loss}{speed}{eta}"


def _nodes(snapshot: JobSnapshot) -> str:
    """Ready pods of all pods, `1/2`; of a job that is over, all pods."""
    status = snapshot.job.status
    if status.topology is None:
        return ""
    ready = f"{status.ready_nodes}/" if status.ready_nodes is not None else ""
    return f"{ready}{status.topology.nodes}"


def _share(done: int, total: int) -> int:
    return min(100, 100 * done // total)


def _facts(snapshot: JobSnapshot, now: datetime) -> Iterator[str]:
    status = snapshot.job.status
    shape = status.topology
    each = f", {shape.processes_per_node} processes in each" if shape else ""
    yield f"nodes        {_nodes(snapshot) or 'none needed yet'}{each}"
    if (elastic := status.elastic) is not None:
        legal = ", ".join(map(str, elastic.legal_nodes))
        yield f"elastic      {elastic.nodes} of {elastic.desired_nodes} nodes; legal: {legal}"
    newest, compiled = status.checkpoint, status.compilation
    if compiled is not None and compiled.complete:
        duration = format_duration(compiled.seconds)
        yield f"compiled     {compiled.done} graphs in {duration}, {compiled.compiled} of them compiled now"
    if status.goodput is not None:
        yield f"goodput      {status.goodput:.0%} of the time went into steps that were kept"
    if (account := account_line(snapshot.job, now)) is not None:
        yield f"time         {account}"
    saved = f"step {newest.step}, {format_age(newest.time, now)} old, {newest.path}" if newest else "none"
    yield f"checkpoint   {saved}"
    if snapshot.headline is None:
        yield "state        no operator has looked at it yet"
    else:
        headline = reason_and_message(snapshot.headline.reason, snapshot.headline.message)
        yield f"{_label(snapshot.headline.type):<13}{headline}"
    for condition in status.conditions:
        remarkable = (
            condition.type is ConditionType.CONFIG_VALID and condition.reason is Reason.CONFIG_ACCEPTED_WITH_WARNINGS
        )
        repeated = snapshot.headline is not None and condition.message == snapshot.headline.message
        if not repeated and (remarkable or (is_true(condition) and condition.type not in _USUAL)):
            yield f"{_label(condition.type):<13}{reason_and_message(condition.reason, condition.message)}"
    yield from (f"not read     {why}" for why in snapshot.unread)


def _label(condition: str) -> str:
    """Return the label of a row: the condition's type in words."""
    return "config" if condition == ConditionType.CONFIG_VALID else re.sub(r"\B(?=[A-Z])", " ", condition).lower()


def _restarts(snapshot: JobSnapshot, now: datetime) -> Iterator[str]:
    status = snapshot.job.status
    lost = f", {status.steps_lost} steps lost" if status.restart_count else ""
    yield f"restarts     {status.restart_count}{lost}"
    for entry in status.restarts[-_RESTARTS:]:
        yield f"  {format_age(entry.time, now)} ago  {_restart_line(entry)}"


def _restart_line(entry: Restart) -> str:
    if entry.recovered_time is None:
        return f"{sentence(entry)} No step since."
    cost = f"from {resumed_from(entry)}, {entry.steps_lost} steps again, {entry.recovery_seconds:.0f} s"
    return f"{sentence(entry)} Recovered: {cost}."


def _events(snapshot: JobSnapshot, now: datetime) -> Iterator[str]:
    if not snapshot.events:
        return
    yield "events"
    for event in snapshot.events[-_EVENTS:]:
        times = f" (x{event.count})" if event.count > 1 else ""
        subject = f"{event.subject}: " if event.subject else ""
        yield f"  {format_age(event.time, now)} ago  {subject}{event.reason}{times}: {event.note}"


def seconds_left(job: NeuronTrainingJob) -> float | None:
    """None where it does not train, has no end, or its configuration is elsewhere (configFrom).

    A step has global_batch_size x sequence length tokens, as the trainer counts them for `tokensPerSecond`.
    """
    progress = job.status.progress
    if progress is None or progress.max_steps is None:
        return None
    if progress.estimated_completion_time and progress.last_step_time:
        return max(0.0, (progress.estimated_completion_time - progress.last_step_time).total_seconds())
    if not progress.tokens_per_second:
        return None
    tokens = tokens_per_step(job)
    if job.status.finished or tokens is None:
        return None
    return max(0, progress.max_steps - progress.step) * tokens / progress.tokens_per_second


def tokens_per_step(job: NeuronTrainingJob) -> int | None:
    """None where the configuration is not in the job, or cannot be read."""
    loaded = load_object(job.spec.config) if job.spec.config is not None else None
    if loaded is None or loaded.config is None:
        return None
    config = loaded.config
    return config.data.global_batch_size * alignment.sequence_length(config, alignment.strategy(config))
