"""`kubectl neuron list` and `top`: jobs as a table, the best or the worst of them first."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from neuron_api.resource.overview import JobSummary
from neuron_operator.planning.status.pace import format_age, format_duration

NOTHING: Final = "-"
_GAP: Final = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    text: Callable[[JobSummary, datetime], str]
    is_number: bool = False
    """Aligned to the right."""


def _amount(value: float | None, form: str) -> str:
    return NOTHING if value is None else format(value, form)


def progress_text(job: JobSummary) -> str:
    """Return the steps: `20/240 (8 %)`."""
    if not job.max_steps:
        return str(job.step) if job.step else NOTHING
    return f"{job.step}/{job.max_steps} ({min(100, 100 * job.step // job.max_steps)} %)"


def _nodes(job: JobSummary, _: datetime) -> str:
    if job.nodes is None:
        return NOTHING
    return str(job.nodes) if job.ready_nodes is None else f"{job.ready_nodes}/{job.nodes}"


def _age(job: JobSummary, now: datetime) -> str:
    return format_age(job.creation_time, now) if job.creation_time else NOTHING


def _remaining(job: JobSummary, _: datetime) -> str:
    return NOTHING if job.remaining_seconds is None else format_duration(job.remaining_seconds)


_NAME: Final = Column("NAME", lambda job, _: job.name)
_PHASE: Final = Column("PHASE", lambda job, _: job.phase)
_STEPS: Final = Column("STEPS", lambda job, _: progress_text(job))
_NODES: Final = Column("NODES", _nodes, is_number=True)
_GOODPUT: Final = Column("GOODPUT", lambda job, _: _amount(job.goodput, ".0%"), is_number=True)
_LEFT: Final = Column("LEFT", _remaining, is_number=True)
_NAMESPACE: Final = Column("NAMESPACE", lambda job, _: job.namespace)

LIST: Final = (
    _NAME,
    _PHASE,
    _STEPS,
    _NODES,
    _GOODPUT,
    _LEFT,
    Column("RESTARTS", lambda job, _: str(job.restarts), is_number=True),
    Column("AGE", _age, is_number=True),
    Column("REASON", lambda job, _: job.reason or NOTHING),
)
TOP: Final = (
    _NAME,
    _PHASE,
    _NODES,
    Column("DEVICES", lambda job, _: str(job.devices or NOTHING), is_number=True),
    _STEPS,
    Column("STEPS/S", lambda job, _: _amount(job.steps_per_second, ".3g"), is_number=True),
    Column("TOKENS/S", lambda job, _: _amount(job.tokens_per_second, ",.0f"), is_number=True),
    Column("MFU", lambda job, _: _amount(job.mfu, ".1%"), is_number=True),
    _GOODPUT,
    Column("LOSS", lambda job, _: _amount(job.loss, ".4f"), is_number=True),
    _LEFT,
)

ORDERS: Final[Mapping[str, Callable[[JobSummary], float | None]]] = {
    "tokens": lambda job: job.tokens_per_second,
    "steps": lambda job: job.steps_per_second,
    "mfu": lambda job: job.mfu,
    "goodput": lambda job: job.goodput,
    "restarts": lambda job: job.restarts,
    "devices": lambda job: job.devices,
}
"""By what `--sort-by` takes, beside `name` and `age`; the most first."""
SORT_KEYS: Final = (*ORDERS, "age", "name")


def ordered(jobs: Iterable[JobSummary], key: str) -> list[JobSummary]:
    """Return the jobs sorted; those without the number come last, equal ones by name."""
    by_name = sorted(jobs, key=lambda job: (job.namespace, job.name))
    if key == "name":
        return by_name
    if key == "age":
        return sorted(by_name, key=lambda job: job.creation_time.timestamp() if job.creation_time else 0.0)

    def rank(job: JobSummary) -> tuple[bool, float]:
        value = ORDERS[key](job)
        return value is None, -(value or 0.0)

    return sorted(by_name, key=rank)


def table(jobs: Sequence[JobSummary], columns: Sequence[Column], now: datetime, *, has_namespaces: bool) -> str:
    """Return the table, a line for each job below the titles."""
    columns = (_NAMESPACE, *columns) if has_namespaces else columns
    rows = [[column.title for column in columns], *([column.text(job, now) for column in columns] for job in jobs)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    return "".join(f"{_line(row, widths, columns)}\n" for row in rows)


def _line(row: Sequence[str], widths: Sequence[int], columns: Sequence[Column]) -> str:
    cells = (
        cell.rjust(width) if column.is_number else cell.ljust(width)
        for cell, width, column in zip(row, widths, columns, strict=True)
    )
    return _GAP.join(cells).rstrip()
