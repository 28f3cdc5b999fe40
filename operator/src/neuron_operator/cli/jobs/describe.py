"""`kubectl neuron describe`: everything that is known of a job, section by section."""

from collections.abc import Iterator
from datetime import datetime

from neuron_api.resource.overview import JobDetail
from neuron_operator.planning.status.pace import format_age, format_duration

from .tables import progress_text


def text(job: JobDetail, now: datetime) -> str:
    """Return the sections that have something to say."""
    sections = {
        "": _head(job, now),
        "Time": _shares(job),
        "Conditions": _conditions(job, now),
        "Pods": (f"{pod.name}  {pod.node or '-'}  {pod.state}" for pod in job.pods),
        "Unusual steps": iter(job.unusual_steps),
        "Slow": iter(job.stragglers),
        "Excluded nodes": iter(job.excluded_nodes),
        "Checkpoints": _checkpoints(job, now),
        "Resumed": iter(job.resume),
        "Restarts": _ledger(job, now),
        "Events": _events(job, now),
        "Not read": iter(job.unread),
    }
    lines = []
    for title, content in sections.items():
        body = list(content)
        if body and title:
            lines.append(f"{title}:")
        lines += [f"  {line}" if title else line for line in body]
    return "\n".join(lines) + "\n"


def _head(job: JobDetail, now: datetime) -> Iterator[str]:
    yield f"Name:       {job.name}"
    yield f"Namespace:  {job.namespace}"
    yield f"Phase:      {job.phase}"
    yield f"Why:        {job.explanation}"
    if job.remedy:
        yield f"To do:      {job.remedy}"
    if job.creation_time:
        yield f"Age:        {format_age(job.creation_time, now)}"
    if job.nodes is not None:
        ready = f", {job.ready_nodes} ready" if job.ready_nodes is not None else ""
        yield f"Nodes:      {job.nodes}{ready}"
    yield f"Steps:      {progress_text(job)}"
    rates = {
        "Loss:": job.loss is not None and f"{job.loss:.4f}",
        "Tokens/s:": job.tokens_per_second is not None and f"{job.tokens_per_second:,.0f}",
        "MFU:": job.mfu is not None and f"{job.mfu:.1%}",
        "Goodput:": job.goodput is not None and f"{job.goodput:.0%}",
        "Left:": job.remaining_seconds is not None and format_duration(job.remaining_seconds),
    }
    yield from (f"{label:<12}{value}" for label, value in rates.items() if value)


def _shares(job: JobDetail) -> Iterator[str]:
    total = sum(share.seconds for share in job.time_shares)
    for share in job.time_shares:
        yield f"{share.seconds / total:>4.0%}  {format_duration(share.seconds):>6}  {share.label}"


def _conditions(job: JobDetail, now: datetime) -> Iterator[str]:
    for condition in job.conditions:
        since = f"{format_age(condition.time, now)} ago" if condition.time else "-"
        yield f"{condition.type}={condition.status}  {condition.reason}  {since}  {condition.message}".rstrip()


def _checkpoints(job: JobDetail, now: datetime) -> Iterator[str]:
    for checkpoint in job.checkpoints:
        age = f"{format_age(checkpoint.time, now)} old" if checkpoint.time else "-"
        used = f"  restart {', '.join(map(str, checkpoint.used_by))}" if checkpoint.used_by else ""
        yield f"step {checkpoint.step}  {age}  {checkpoint.path or '-'}{used}"
    yield job.restart_cost


def _ledger(job: JobDetail, now: datetime) -> Iterator[str]:
    for entry in job.ledger:
        yield f"{entry.number}  {format_age(entry.time, now)} ago  {entry.scope}  {entry.sentence}"
        if entry.recovered_time is not None:
            seconds = f", {entry.recovery_seconds:.0f} s" if entry.recovery_seconds is not None else ""
            yield f"   recovered from step {entry.resumed_from_step}, {entry.steps_lost} steps again{seconds}"


def _events(job: JobDetail, now: datetime) -> Iterator[str]:
    for event in job.events:
        times = f" (x{event.count})" if event.count > 1 else ""
        subject = f"{event.subject}: " if event.subject else ""
        yield f"{format_age(event.time, now)} ago  {subject}{event.reason}{times}: {event.note}"
