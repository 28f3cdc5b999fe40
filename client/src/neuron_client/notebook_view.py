"""HTML for notebooks: a job as a card with a progress bar, jobs and plans as tables.

Colours are the notebook's own, so that both of its themes read well; every text of a job is escaped.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from html import escape
from typing import TYPE_CHECKING

from neuron_api.findings.finding import Finding

if TYPE_CHECKING:
    from .job import Job


def job_card(job: "Job") -> str:
    """Return the name and phase, a bar, and what is known beside it."""
    rows = "".join(f"<tr>{_cell(label, 'th')}{_cell(value)}</tr>" for label, value in _facts(job))
    title = f"<div><b>{escape(job.name)}</b> · {escape(job.phase)} {_bar(job)}</div>"
    return f'<div class="neuron-job">{title}<table>{rows}</table></div>'


def job_table(jobs: Sequence["Job"]) -> str:
    """Return a row for each job."""
    rows = "".join(
        f"<tr>{_cell(job.name)}{_cell(job.phase)}<td>{_bar(job)}</td>{_cell(_loss(job))}{_cell(job.restarts)}</tr>"
        for job in jobs
    )
    head = "".join(_cell(title, "th") for title in ("name", "phase", "progress", "loss", "restarts"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def plan_table(text: str, findings: Iterable[Finding]) -> str:
    """Return the plan's rows as they are on a terminal, then each finding."""
    items = "".join(f"<li><b>{escape(finding.severity)}</b> {escape(str(finding))}</li>" for finding in findings)
    return f"<pre>{escape(text)}</pre>" + (f"<ul>{items}</ul>" if items else "")


def _facts(job: "Job") -> Iterator[tuple[str, str]]:
    if job.message:
        yield "message", job.message
    if job.loss is not None:
        yield "loss", _loss(job)
    if job.tokens_per_second:
        yield "tokens per second", f"{job.tokens_per_second:,.0f}"
    if job.seconds_left and not job.is_finished:
        yield "time left", str(timedelta(seconds=round(job.seconds_left)))
    if job.checkpoint_step is not None:
        yield "checkpoint", f"step {job.checkpoint_step}"
    if job.nodes is not None:
        ready = f"{job.ready_nodes} of {job.nodes} ready" if job.ready_nodes is not None else str(job.nodes)
        yield "nodes", ready
    if job.restarts:
        yield "restarts", f"{job.restarts} ({job.steps_lost} steps done again)"
    if job.goodput is not None:
        yield "goodput", f"{job.goodput:.0%}"


def _bar(job: "Job") -> str:
    """Return the progress element with its numbers beside it; those alone where there is no last step."""
    if not job.max_steps:
        return f"<span>step {job.step}</span>"
    numbers = f"{job.step}/{job.max_steps}"
    return (
        f'<progress value="{min(job.step, job.max_steps)}" max="{job.max_steps}" aria-label="steps of '
        f'{escape(job.name, quote=True)}">{numbers}</progress> <span>{numbers} steps</span>'
    )


def _loss(job: "Job") -> str:
    return f"{job.loss:.4f}" if job.loss is not None else ""


def _cell(value: object, tag: str = "td") -> str:
    return f'<{tag} style="text-align:left">{escape(str(value))}</{tag}>'
