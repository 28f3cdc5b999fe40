"""Copies in shared memory: a killed process or launcher costs no more steps than `everySteps`, and nothing is left."""

from pathlib import Path

import pytest

from . import memory_kills
from .memory_kills import Numbers
from .nodes import Gang, numbers

pytestmark = pytest.mark.distributed

STEPS = 40


@pytest.fixture(scope="session")
def unbroken(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Numbers:
    """The numbers of a run that nobody disturbs, without copies."""
    folder = tmp_path_factory.mktemp("unbroken-memory")
    with Gang(folder, memory_kills.values(tiny, folder, STEPS), num_nodes=1) as gang:
        assert gang.start(0).wait() == 0, gang.logs()
    return numbers(folder / "log")


@pytest.mark.parametrize("every", [1, 3])
def test_kills_cost_no_more_steps_than_there_are_between_copies(
    tiny: Path, tmp_path: Path, unbroken: Numbers, every: int
) -> None:
    outcome = memory_kills.run(tiny, tmp_path, every, STEPS, memory_kills.draw(3, seed=every))
    assert outcome.numbers == unbroken
    assert max(outcome.lost) <= every
    assert "Memory" in outcome.sources
    assert "Storage" not in outcome.sources, "there was no checkpoint before the end"
    assert not outcome.leftover
