"""What was tried, how often, and what it cost: collected from tests, shown as a table, written as JSON.

A test asks for the fixture `trial` and calls it once per fault. `pytest --faults-json PATH` (`make test-faults`) writes
the rows; without it nothing is shown.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trials.table import Row, as_json, lines

__all__ = ["Row", "Trial"]


Trial = Callable[[Row], None]
ROWS = pytest.StashKey[list[Row]]()


@pytest.fixture
def trial(request: pytest.FixtureRequest) -> Trial:
    """Add a row to the table, and show it (`pytest -s`)."""
    rows = request.config.stash.setdefault(ROWS, [])

    def add(row: Row) -> None:
        rows.append(row)
        sys.stdout.write(f"\n{lines([row])[-1]}\n")

    return add


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--faults-json`."""
    parser.addoption("--faults-json", type=Path, default=None, help="write the table of faults here")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table, where it was asked for."""
    rows, path = config.stash.get(ROWS, []), config.getoption("--faults-json")
    if path is None:
        return
    path.write_text(as_json(rows))
    terminalreporter.section("faults")
    for line in lines(rows):
        terminalreporter.write_line(line)
    terminalreporter.write_line(f"as JSON: {path}")
