"""Copies in shared memory: a killed process or launcher costs no more steps than `everySteps`, and nothing is left."""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from neuron_trainer.launcher.memory_folder import SHARED_MEMORY, MemoryFolder
from neuron_trainer.metrics.history import open_history

from . import memory_kills
from .memory_campaign import Campaign, Life, draw, record, table
from .memory_kills import Numbers
from .memory_node import Kill, Place, Rhythm
from .nodes import Gang, last_step, numbers, until

pytestmark = pytest.mark.distributed

STEPS = 40


@pytest.fixture(scope="session")
def unbroken(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Numbers:
    """The numbers of a run that nobody disturbs, without copies."""
    folder = tmp_path_factory.mktemp("unbroken-memory")
    with Gang(folder, memory_kills.values(tiny, folder, STEPS), num_nodes=1) as gang:
        assert gang.start(0).wait() == 0, gang.logs()
    return numbers(folder / "log")


COUNT = int(os.environ.get("MEMORY_KILLS", "8"))


def test_kills_cost_no_more_steps_than_there_are_between_copies(tiny: Path, tmp_path: Path, unbroken: Numbers) -> None:
    every = 2
    outcome = memory_kills.run(tiny, tmp_path, every, STEPS, memory_kills.draw(3, seed=1))
    assert outcome.numbers == unbroken
    assert max(outcome.lost) <= every
    assert "Memory" in outcome.sources
    assert "Storage" not in outcome.sources, "there was no checkpoint before the end"
    assert not outcome.leftover


@pytest.mark.timeout(600 * COUNT)
def test_kills_anywhere_cost_no_more_steps(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`make test-memory-kills` does it 200 times, and keeps what happened in `MEMORY_KILLS_RESULTS`."""
    lives = list[Life]()
    with TemporaryDirectory(prefix="memory-kills-", dir=SHARED_MEMORY) as memory:
        campaign = Campaign(tiny, tmp_path, Path(memory))
        for kills, rhythm in draw(COUNT, seed=1):
            lives.append(campaign.live(kills, rhythm))
            if results := os.environ.get("MEMORY_KILLS_RESULTS"):
                record(lives, Path(results))
    with capsys.disabled():
        sys.stdout.write(f"\n{table(lives)}\n")
    assert not [(life.fault, life.kills) for life in lives if life.fault]
    assert "Memory" in {source for life in lives for source in life.sources}


def test_a_lost_node_resumes_from_the_copies_of_another(tiny: Path, tmp_path: Path, unbroken: Numbers) -> None:
    """Each node has one of the two ranks; first one goes with its memory, then the one with the rendezvous."""
    log = tmp_path / "log"
    config = memory_kills.values(tiny, tmp_path, STEPS, trainer__num_nodes=2, trainer__devices=1)
    with Gang(tmp_path, config, 2, memory_kills.variables(1, replicas=1)) as gang:
        nodes = gang.start_all()
        for step, lost in ((5, 1), (15, 0)):
            until("a step", lambda step=step: last_step(log) >= step, gang=gang)  # type: ignore[misc]
            memory_kills.lose(nodes[lost], log)
            nodes[lost] = gang.start(lost)
        assert [node.wait() for node in nodes] == [0, 0], gang.logs()
    starts = open_history(log).history().starts
    assert [start.source for start in starts] == [None, "Peer", "Peer"]
    assert max(start.steps_lost for start in starts) <= 1
    assert numbers(log) == unbroken
    assert not any(MemoryFolder(log, "uid-1", rank).path.exists() for rank in range(2))


def test_a_copy_has_two_places_again_before_a_start_trains(tiny: Path, tmp_path: Path) -> None:
    """A rank is killed while it sends its copy, and its node is lost with all memory before the next step."""
    with TemporaryDirectory(prefix="memory-kills-", dir=SHARED_MEMORY) as memory:
        campaign = Campaign(tiny, tmp_path, Path(memory))
        life = campaign.live([Kill(Place.SENDING, 1, 3, 0.5), Kill(Place.FIRST_STEP, 1, 0, 0.0)], Rhythm(1, 1))
    assert not life.fault
    assert life.sources[-1] == "Peer"
