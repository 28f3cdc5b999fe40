"""`kubectl neuron status`: where a job is, what it has cost, what happened last; `--watch` keeps it up to date."""

import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TextIO

from neuron_api.resource.status import JobStatus
from neuron_operator.cli.watching import INTERVAL
from neuron_operator.kube.errors import UnreachableError

from .connection import Connection
from .job_snapshot import JobSnapshot, look
from .status_view import StatusView, line, view


def run(connection: Connection, name: str, *, watch: bool, stream: TextIO | None = None) -> JobStatus:
    """Print once, or until the job is over; return what its status was at last."""
    out = stream or sys.stdout
    snapshot = look(connection, name)
    history = [snapshot.job.status]
    if out.isatty():
        from . import screen

        views = _views(connection, name, snapshot, history) if watch else iter((view(snapshot, _now()),))
        screen.show(views, out)
    elif watch:
        _log(connection, name, snapshot, out, history)
    else:
        out.write(view(snapshot, _now()).text)
    return history[-1]


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


def _views(connection: Connection, name: str, first: JobSnapshot, history: list[JobStatus]) -> Iterator[StatusView]:
    last = first
    for latest in snapshots(connection, name, first):
        if isinstance(latest, JobSnapshot):
            last = latest
            history[:] = [last.job.status]
        shown = view(last, _now())
        note = () if isinstance(latest, JobSnapshot) else (f"  {latest}; trying again",)
        yield StatusView(shown.title, shown.steps, (*note, *shown.body), shown.done, shown.total, shown.over)


def _log(connection: Connection, name: str, first: JobSnapshot, out: TextIO, history: list[JobStatus]) -> None:
    """A line for each change: what a CI job or a file wants."""
    before = ""
    for latest in snapshots(connection, name, first):
        if isinstance(latest, JobSnapshot):
            history[:] = [latest.job.status]
        text = line(latest) if isinstance(latest, JobSnapshot) else f"{latest}; trying again"
        if text != before:
            out.write(f"{_now():%H:%M:%S} {text}\n")
            out.flush()
        before = text


def _now() -> datetime:
    return datetime.now(UTC)
