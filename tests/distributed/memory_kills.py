"""Runs with copies in memory that are killed at drawn moments, ranks and launchers alike, until they end.

A run writes no checkpoint before its last step: whatever it goes on from was in memory.
"""

import random
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from neuron_api import contract
from neuron_trainer.launcher.memory_folder import MemoryFolder
from neuron_trainer.metrics.history import open_history

from .nodes import Gang, Launcher, is_alive, kill_worker, last_step, numbers, until, workers
from .tiny import config, write_config

Numbers = dict[int, tuple[float, ...]]


class Victim(StrEnum):
    """Who is killed."""

    RANK = "a rank"
    AGENT = "the launcher with its ranks"


@dataclass(frozen=True, slots=True)
class Kill:
    """One that was done."""

    victim: Victim
    place: float
    """0..1: of the time that a step and its copy take, or the start after a kill before it."""
    in_resume: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run with kills shows in the end."""

    kills: int
    lost: list[int]
    """Steps done again, of each start that went on."""
    sources: list[str]
    """Where each start took its step from."""
    numbers: Numbers
    leftover: bool
    """Whether shared memory of the run is left."""


def values(tiny: Path, folder: Path, steps: int, **changes: Any) -> Path:
    """Write the configuration of one node with two ranks."""
    changes = {
        "trainer__num_nodes": 1,
        "trainer__devices": 2,
        "trainer__max_steps": steps,
        "exp_manager__checkpoint_callback_params__every_n_train_steps": 10_000,
        **changes,
    }
    return write_config(folder / "config.yaml", config(tiny, folder / "log", **changes))


def variables(every: int, replicas: int = 0) -> dict[str, str]:
    """Return what the operator sets for such a job."""
    return {
        contract.ENV_MEMORY_EVERY_STEPS: str(every),
        contract.ENV_MEMORY_REPLICAS: str(replicas),
        contract.ENV_MAX_PROCESS_RESTARTS: "1000",
    }


def lose(launcher: Launcher, log: Path) -> None:
    """Kill a node: the launcher, its ranks, and what was in its memory."""
    ranks = workers(launcher)
    launcher.kill()
    until("the ranks to die with their launcher", lambda: not any(map(is_alive, ranks)))
    shutil.rmtree(MemoryFolder(log, "uid-1", launcher.rank).path)


def draw(count: int, seed: int) -> list[Kill]:
    """Return kills: two in three of a rank; one in four comes while the run resumes after the one before it."""
    chance = random.Random(seed)
    victims = [Victim.RANK, Victim.AGENT, Victim.RANK]
    return [Kill(victims[number % 3], chance.random(), number % 4 == 3) for number in range(count)]


def run(tiny: Path, folder: Path, every: int, steps: int, kills: Sequence[Kill]) -> Outcome:
    """Train to the end through all kills."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    with Gang(folder, values(tiny, folder, steps), 1, variables(every)) as gang:
        launcher = gang.start(0)
        for number, kill in enumerate(kills):
            _wait(launcher, log, gang, number + 2 if not kill.in_resume else 0)
            time.sleep(kill.place * (0.2 if not kill.in_resume else 2.0))  # the drawn moment
            launcher = _strike(kill, launcher, gang)
        assert launcher.wait() == 0, gang.logs()
    starts = open_history(log).history().starts
    return Outcome(
        kills=len(kills),
        lost=[start.steps_lost for start in starts],
        sources=[start.source or "" for start in starts],
        numbers=numbers(log),
        leftover=MemoryFolder(log, "uid-1", 0).path.exists(),
    )


def _wait(launcher: Launcher, log: Path, gang: Gang, step: int) -> None:
    """Wait until the ranks are there, and so many steps are done."""
    until("the ranks", lambda: workers(launcher), gang=gang)
    until("a step", lambda: last_step(log) >= step or launcher.process.poll() is not None, gang=gang, pause=0.005)


def _strike(kill: Kill, launcher: Launcher, gang: Gang) -> Launcher:
    if kill.victim is Victim.RANK:
        if workers(launcher):
            kill_worker(launcher, index=-1 if kill.place > 0.5 else 0)
        return launcher
    ranks = workers(launcher)
    launcher.process.send_signal(signal.SIGKILL)
    launcher.process.wait()
    until("the ranks to die with their launcher", lambda: not any(map(is_alive, ranks)))
    return gang.start(0)
