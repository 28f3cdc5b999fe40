"""What was tried, how often, and what it cost: collected from tests, shown as a table, written as JSON.

A test asks for the fixture `trial` and calls it once per fault. `pytest --faults-json PATH` (`make test-faults`) writes
the rows; without it nothing is shown.
"""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest


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


Trial = Callable[[Row], None]
ROWS = pytest.StashKey[list[Row]]()


@pytest.fixture
def trial(request: pytest.FixtureRequest) -> Trial:
    """Add a row to the table."""
    rows = request.config.stash.setdefault(ROWS, [])
    return rows.append


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--faults-json`."""
    parser.addoption("--faults-json", type=Path, default=None, help="write the table of faults here")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table, where it was asked for."""
    rows, path = config.stash.get(ROWS, []), config.getoption("--faults-json")
    if path is None:
        return
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    terminalreporter.section("faults")
    for line in lines(rows):
        terminalreporter.write_line(line)
    terminalreporter.write_line(f"as JSON: {path}")


def lines(rows: Sequence[Row]) -> list[str]:
    """A table in Markdown."""
    head = "| fault | where | tried | lost steps | orphans | seconds to recover (median, most) | end |"
    return [head, "|---|---|---|---|---|---|---|", *map(_line, rows)]


def _line(row: Row) -> str:
    lost = "–" if row.lost_steps is None else str(row.lost_steps)
    seconds = f"{statistics.median(row.seconds):.1f}, {max(row.seconds):.1f}" if row.seconds else "–"
    return f"| {row.fault} | {row.where} | {row.tries} | {lost} | {row.orphans} | {seconds} | {row.end} |"
