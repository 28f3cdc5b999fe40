"""`kubectl neuron status`: where a job is, what it has cost, what happened last; `--watch` keeps it up to date."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TextIO

from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import Restart
from neuron_operator.kube.errors import UnreachableError
from neuron_operator.planning.status import duration
from neuron_operator.planning.status.conditions import sentence

from . import pace
from .connection import Connection
from .job_snapshot import HEADLINE, JobSnapshot, is_true, look, reason_and_message

INTERVAL: Final = 2.0
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


def run(connection: Connection, name: str, *, watch: bool, stream: TextIO | None = None) -> None:
    """Print once, or until the job is over."""
    out = stream or sys.stdout
    snapshot = look(connection, name)
    if out.isatty():
        from . import screen

        views = _views(connection, name, snapshot) if watch else iter((view(snapshot, _now()),))
        screen.show(views, out)
    elif watch:
        _log(connection, name, snapshot, out)
    else:
        out.write(view(snapshot, _now()).text)


def snapshots(
    connection: Connection, name: str, first: JobSnapshot, pause: Callable[[float], None] = time.sleep
) -> Iterator[JobSnapshot | UnreachableError]:
    """Again and again until the job is over; an API server that is away is told and asked again."""
    yield first
    over = first.job.status.finished
    while not over:
        pause(INTERVAL)
        try:
            snapshot = look(connection, name)
        except UnreachableError as problem:
            yield problem
            continue
        over = snapshot.job.status.finished
        yield snapshot


def _views(connection: Connection, name: str, first: JobSnapshot) -> Iterator[StatusView]:
    last = first
    for latest in snapshots(connection, name, first):
        if isinstance(latest, JobSnapshot):
            last = latest
        shown = view(last, _now())
        note = () if isinstance(latest, JobSnapshot) else (f"  {latest}; trying again",)
        yield StatusView(shown.title, shown.steps, (*note, *shown.body), shown.done, shown.total, shown.over)


def _log(connection: Connection, name: str, first: JobSnapshot, out: TextIO) -> None:
    """A line for each change: what a CI job or a file wants."""
    before = ""
    for latest in snapshots(connection, name, first):
        text = line(latest) if isinstance(latest, JobSnapshot) else f"{latest}; trying again"
        if text != before:
            out.write(f"{_now():%H:%M:%S} {text}\n")
            out.flush()
        before = text


def _title(snapshot: JobSnapshot, now: datetime) -> str:
    job, status = snapshot.job, snapshot.job.status
    began = status.start_time
    end = status.completion_time
    ran = f", took {duration.text((end - began).total_seconds())}" if began and end else ""
    started = f", started {duration.since(began, now)} ago" if began else ", not started"
    return f"{job.metadata.name}  {status.phase}  in namespace {job.metadata.namespace}{started}{ran}"


def _steps(snapshot: JobSnapshot, now: datetime) -> str:
    progress = snapshot.job.status.progress
    if progress is None:
        return "steps        none has been finished"
    ago = f"; last {duration.since(progress.last_step_time, now)} ago" if progress.last_step_time else ""
    return f"steps        {_numbers(snapshot)}{ago}"


def _numbers(snapshot: JobSnapshot) -> str:
    progress = snapshot.job.status.progress
    if progress is None:
        return "no step"
    goal = f" of {progress.max_steps} ({_share(progress.step, progress.max_steps)} %)" if progress.max_steps else ""
    loss = f", loss {progress.loss:.4f}" if progress.loss is not None else ""
    speed = f", {progress.tokens_per_second:,.0f} tokens/s" if progress.tokens_per_second else ""
    remaining, end = pace.seconds_left(snapshot.job), progress.estimated_completion_time
    eta = f", {duration.text(remaining)} left" if remaining is not None else ""
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
    yield f"nodes        {_nodes(snapshot) or 'none wanted yet'}{each}"
    newest = status.checkpoint
    if status.goodput is not None:
        yield f"goodput      {status.goodput:.0%} of the time went into steps that were kept"
    saved = f"step {newest.step}, {duration.since(newest.time, now)} old, {newest.path}" if newest else "none"
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
    """Of a row: the condition's type in words."""
    return "config" if condition == ConditionType.CONFIG_VALID else re.sub(r"\B(?=[A-Z])", " ", condition).lower()


def _restarts(snapshot: JobSnapshot, now: datetime) -> Iterator[str]:
    status = snapshot.job.status
    lost = f", {status.steps_lost} steps lost" if status.restart_count else ""
    yield f"restarts     {status.restart_count}{lost}"
    for entry in status.restarts[-_RESTARTS:]:
        yield f"  {duration.since(entry.time, now)} ago  {_restart_line(entry)}"


def _restart_line(entry: Restart) -> str:
    if entry.recovered_time is None:
        return f"{sentence(entry)} No step since."
    cost = f"from step {entry.resumed_from_step}, {entry.steps_lost} steps again, {entry.recovery_seconds:.0f} s"
    return f"{sentence(entry)} Recovered: {cost}."


def _events(snapshot: JobSnapshot, now: datetime) -> Iterator[str]:
    if not snapshot.events:
        return
    yield "events"
    for event in snapshot.events[-_EVENTS:]:
        times = f" (x{event.count})" if event.count > 1 else ""
        subject = f"{event.subject}: " if event.subject else ""
        yield f"  {duration.since(event.time, now)} ago  {subject}{event.reason}{times}: {event.note}"


def _now() -> datetime:
    return datetime.now(UTC)
