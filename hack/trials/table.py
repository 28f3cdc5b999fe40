"""What was tried, how often, and what it cost: one row per fault, as a table in Markdown or as JSON."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """One fault."""

    fault: str
    where: str
    """`cluster` (kubelet, containers, trainer), `API server` (real, without a node) or `processes` (trainer alone)."""
    tries: int
    lost_steps: int | None = None
    """Finished steps that had to be done again, all tries together; None where nothing trains."""
    orphans: int = 0
    """Pods, Services, ConfigMaps and processes that were left and should not have been."""
    seconds: Sequence[float] = field(default_factory=tuple)
    """From the fault to the first step after it, one for each try that has one."""
    end: str = ""
    """How it ended."""


def as_json(rows: Sequence[Row]) -> str:
    """All rows."""
    return json.dumps([asdict(row) for row in rows], indent=1) + "\n"


def lines(rows: Sequence[Row]) -> list[str]:
    """A table in Markdown."""
    head = "| fault | where | tried | lost steps | orphans | seconds to recover (median, most) | end |"
    return [head, "|---|---|---|---|---|---|---|", *map(_line, rows)]


def _line(row: Row) -> str:
    lost = "–" if row.lost_steps is None else str(row.lost_steps)
    seconds = f"{statistics.median(row.seconds):.1f}, {max(row.seconds):.1f}" if row.seconds else "–"
    return f"| {row.fault} | {row.where} | {row.tries} | {lost} | {row.orphans} | {seconds} | {row.end} |"
