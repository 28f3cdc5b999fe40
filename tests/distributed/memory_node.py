"""A node of a campaign of kills: a launcher's part in a process that owns the copies, and a rank that dies where it is
told to.

The rank is a fork of the launcher, and that one of a process that has everything imported. Folder, lock, choice of a
checkpoint and agreement are the real ones; only the elastic agent is not there. Each kill notes that it happens.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final

import yaml

from neuron_api import contract
from neuron_api.config import TrainingConfig
from neuron_api.loading.loader import Loaded, load_text

from .ranks import GLOO_TIMEOUT

UID: Final = "uid-1"
HITS: Final = "hits"
"""In the log directory: a line of each kill that has happened."""
PIECE: Final = 1 << 14
"""Bytes of a message between nodes: so small that a copy has many."""


class Place(StrEnum):
    """Where a process is killed."""

    RANK = "a rank, at a moment"
    AGENT = "a launcher with its rank, at a moment"
    AGENTS = "all launchers, at a moment"
    COPY = "a rank, inside a copy"
    SAVE = "a rank, inside a checkpoint"
    SENDING = "a rank, inside a copy's way to the other node"
    RESUME = "a rank, inside a resume"
    NODE = "a node with its memory, at a moment"
    FIRST_STEP = "a node with its memory, in the first step of a start"
    FETCH = "a rank, while a lost node gets its state back"


@dataclass(frozen=True, slots=True)
class Kill:
    """One, drawn from the seed."""

    place: Place
    victim: int
    """Rank."""
    after: int
    """How many steps, copies or exchanges of the start end before it."""
    chance: float
    """0..1: of a step, or of the pieces of what it is in."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When a life makes copies, and where they are."""

    every: int
    replicas: int


def launch(node: int, orders: Connection, log: Path, memory: Path, values: dict[str, Any], rhythm: Rhythm) -> None:
    """Run the rank of this node in each round that is ordered, and own its copies until all is over."""
    from neuron_trainer.checkpoint import complete
    from neuron_trainer.launcher.checkpoint_selector import CheckpointSelector
    from neuron_trainer.launcher.memory_folder import MemoryFolder
    from neuron_trainer.run_directory.log_dir import checkpoints

    _die_with_parent()
    loaded = _loaded(values)
    config = _config(loaded)
    places = checkpoints(config, log)
    context = multiprocessing.get_context("fork")

    def stored() -> int:
        return max((saved.step for saved in complete(places)), default=0)

    with MemoryFolder(log, UID, node, memory, stored) as folder:
        while (order := orders.recv()) is not None:
            number, store, kill = order
            choice = CheckpointSelector(config, log, UID).choose() if node == 0 else None
            arguments = (node, number, store, loaded, log, folder.path, kill, rhythm, choice)
            rank = context.Process(target=_rank, args=arguments)
            rank.start()
            wait([orders, rank.sentinel])
            if rank.exitcode is None and orders.poll():
                rank.kill()
            rank.join()
            orders.send(rank.exitcode)
            orders.recv()  # the round is over for all
        folder.is_over = True


def _loaded(values: dict[str, Any]) -> Loaded:
    return load_text(yaml.safe_dump(values), [])


def _config(loaded: Loaded) -> TrainingConfig:
    assert loaded.config is not None, loaded.findings
    return loaded.config


def _die_with_parent() -> None:
    from torch.multiprocessing import _prctl_pr_set_pdeathsig  # type: ignore[attr-defined]

    _prctl_pr_set_pdeathsig(signal.SIGKILL)


def _rank(
    rank: int,
    number: int,
    store: str,
    loaded: Loaded,
    log: Path,
    memory: Path,
    kill: Kill | None,
    rhythm: Rhythm,
    choice: Any,
) -> None:
    import torch.distributed as dist

    _die_with_parent()
    os.environ["GLOO_SOCKET_IFNAME"], os.environ[contract.ENV_JOB_UID] = "lo", UID
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2, timeout=GLOO_TIMEOUT)
    try:
        _train(rank, number, loaded, log, memory, kill, rhythm, choice)
    except Exception:
        if os.environ.get("MEMORY_KILLS_TRACE"):
            import traceback

            traceback.print_exc()
        os._exit(1)  # its peer is gone
    dist.destroy_process_group()


def _train(
    rank: int, number: int, loaded: Loaded, log: Path, memory: Path, kill: Kill | None, rhythm: Rhythm, choice: Any
) -> None:
    import torch

    from neuron_api.platform.topology import Topology
    from neuron_trainer import generators, worker
    from neuron_trainer.checkpoint.memory import exchange
    from neuron_trainer.checkpoint.memory.agreement import MemoryTier
    from neuron_trainer.checkpoint.memory.slot import CopyIdentity
    from neuron_trainer.ipc.phases import Phases
    from neuron_trainer.ipc.worker_channel import Start
    from neuron_trainer.loop.run import Run
    from neuron_trainer.metrics.history import MetricsFile
    from neuron_trainer.run_directory.log_dir import checkpoints

    exchange._PIECE = PIECE
    config = _config(loaded)
    if kill is not None and kill.victim == rank:
        _arm(kill, log)
    own = Start(number, choice.checkpoint, skipped=choice.skipped, text=list(choice.text)) if choice else Start(number)
    tier = MemoryTier(memory, CopyIdentity("", loaded.hash, "", rank, 2, 1, "cpu"), rhythm.every, rhythm.replicas)
    start = worker._with_memory(worker._agree(own), tier)
    generators.seed_generators(config.seed)
    run = Run.build(config, Topology.from_config(config), loaded.hash, torch.device("cpu"), lambda: False, Phases(),
                    is_fresh=not start.resumes)  # fmt: skip
    metrics = MetricsFile(log / contract.METRICS_FILE) if rank == 0 else None
    run.fit(replace(start, round=number), log, checkpoints(config, log), None, metrics, rank, memory=tier)


def _arm(kill: Kill, log: Path) -> None:
    """Let the process, or its launcher, die at the place."""
    from neuron_trainer.checkpoint import writer
    from neuron_trainer.checkpoint.memory import slot
    from neuron_trainer.checkpoint.memory.exchange import PeerExchange
    from neuron_trainer.loop.state import RunState
    from neuron_trainer.loop.step import Gradients

    def die() -> None:
        with (log / HITS).open("a") as file:
            file.write(f"{kill.place.name}\n")
        os.kill(os.getpid() if kill.place not in _LAUNCHERS else os.getppid(), signal.SIGKILL)

    match kill.place:
        case Place.RANK | Place.AGENT | Place.AGENTS | Place.NODE:
            Gradients.compute = _later(Gradients.compute, kill, die)  # type: ignore[method-assign]
        case Place.FIRST_STEP:
            Gradients.compute = _before(Gradients.compute, 0, die)  # type: ignore[method-assign]
        case Place.COPY:
            slot.Slot.write = _inside(slot.Slot.write, slot, "_copy", kill, die)  # type: ignore[method-assign]
        case Place.RESUME:
            slot.Slot.read = _inside(slot.Slot.read, slot.TensorLayout, "view", replace(kill, after=0), die)  # type: ignore[method-assign]
            RunState.load = _before(RunState.load, 0, die)  # type: ignore[method-assign]
        case Place.SAVE:
            writer._finish = _before(writer._finish, 0, die)
        case Place.SENDING:
            PeerExchange.exchange = _in_transfer(PeerExchange.exchange, kill, die)  # type: ignore[method-assign]
        case Place.FETCH:
            PeerExchange.fetch = _in_transfer(PeerExchange.fetch, replace(kill, after=0), die)  # type: ignore[method-assign]
            RunState.load = _before(RunState.load, 0, die)  # type: ignore[method-assign]  # storage may be newer


_LAUNCHERS: Final = (Place.AGENT, Place.AGENTS, Place.NODE, Place.FIRST_STEP)


def _before(plain: Callable[..., Any], number: int, die: Callable[[], None]) -> Callable[..., Any]:
    calls = count()

    def call(*arguments: Any, **named: Any) -> Any:
        if next(calls) == number:
            die()
        return plain(*arguments, **named)

    return call


def _later(compute: Callable[..., Any], kill: Kill, die: Callable[[], None]) -> Callable[..., Any]:
    """Die at a moment of the step and a half after `after` steps of this start."""
    calls, begun = count(), [0.0]

    def call(*arguments: Any) -> Any:
        import time

        if (number := next(calls)) == kill.after:
            step = (time.monotonic() - begun[0]) / number if number else 0.02
            threading.Timer(1.5 * kill.chance * step, die).start()
        elif number == 0:
            begun[0] = time.monotonic()
        return compute(*arguments)

    return call


def _inside(
    outer: Callable[..., Any], owner: Any, inner: str, kill: Kill, die: Callable[[], None]
) -> Callable[..., Any]:
    """Die in a piece of the `after`-th call of `outer`, whose first argument has one for each tensor."""
    calls, plain, left = count(), getattr(owner, inner), [-1]

    def piece(*arguments: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            die()
        return plain(*arguments)

    def call(slot: Any, *arguments: Any) -> Any:
        if next(calls) == kill.after:
            left[0] = 1 + int(kill.chance * len(slot._layout.spans))
        return outer(slot, *arguments)

    setattr(owner, inner, piece)
    return call


def _in_transfer(outer: Callable[..., Any], kill: Kill, die: Callable[[], None]) -> Callable[..., Any]:
    """Die in a piece of what the `after`-th call of `outer` sends or receives."""
    from neuron_trainer.checkpoint.memory.exchange import PeerExchange

    calls, swap, is_due = count(), PeerExchange._swap, [False]

    def call(*arguments: Any) -> Any:
        is_due[0] = next(calls) == kill.after
        return outer(*arguments)

    def swapped(self: Any, sent: Any, to: int, places: Any, source: int, then: Any) -> None:
        if not is_due[0] or max(len(sent), len(places)) < 2:  # a greeting
            return swap(self, sent, to, places, source, then)
        until = int(kill.chance * max(len(sent), len(places)))
        swap(self, sent[:until], to, places[:until], source, then)
        return die()

    PeerExchange._swap = swapped  # type: ignore[method-assign]
    return call
