"""Many kills of runs with copies in memory, at drawn places: a moment, inside a copy, inside its way to another node,
inside a resume; and nodes that go with their memory.

One start is a fork of a process that has everything imported, as in `kills`; the launcher's part, folders that outlive
the processes, is played here. No checkpoint is written before the last step.
"""

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Any, Final

import yaml

from neuron_api.loading.loader import load_text
from neuron_trainer.launcher.elastic import forkserver
from neuron_trainer.metrics.history import open_history

from .nodes import numbers
from .ranks import GLOO_TIMEOUT, join
from .tiny import config

STEPS: Final = 40
KILLS_OF_A_RUN: Final = 4


class Place(StrEnum):
    """Where a process is killed."""

    MOMENT = "a moment"
    COPY = "inside a copy"
    SENDING = "inside its way to another node"
    RESUME = "inside a resume"
    NODE = "a moment, and its memory is gone"
    FIRST_STEP = "the first step of a start, and its memory is gone"


@dataclass(frozen=True, slots=True)
class Kill:
    """One, drawn from the seed."""

    place: Place
    chance: float
    """0..1: of the time of a start, or of the pieces until then."""


@dataclass(frozen=True, slots=True)
class Life:
    """A run through its kills, to the end."""

    kills: Sequence[Kill]
    every: int
    replicas: int
    hits: Sequence[bool]
    """Of each kill whether a process was hit before the run had ended."""
    lost: Sequence[int]
    sources: Sequence[str]
    is_equal: bool
    """All its numbers are those of the unbroken run."""

    @property
    def fault(self) -> str:
        """What is wrong with it; empty when nothing is."""
        wrong = [] if self.is_equal else ["numbers differ from the unbroken run"]
        if (most := max(self.lost, default=0)) > self.every:
            wrong.append(f"{most} steps lost, of {self.every} at most")
        return "; ".join(wrong)


def draw(kills: int, seed: int) -> list[list[Kill]]:
    """Return the kills of as many lives as it takes; nodes and sending only in lives with replicas, the odd ones."""
    chance, lives = random.Random(seed), list[list[Kill]]()
    for number in range(-(-kills // KILLS_OF_A_RUN)):
        places = list(Place) if number % 2 else [Place.MOMENT, Place.COPY, Place.COPY, Place.RESUME]
        chosen = chance.sample(places, KILLS_OF_A_RUN)
        lives.append([Kill(place, chance.random()) for place in chosen])
    return lives


class Campaign:
    """Lives in one directory, against an unbroken run that it makes first."""

    def __init__(self, tiny: Path, folder: Path, shared_memory: Path) -> None:
        self._tiny, self._folder, self._memory = tiny, folder, shared_memory
        forkserver.start(4)
        self._context = multiprocessing.get_context("forkserver")
        self._numbers, self._stores = count(), count()
        self._run(folder / "first", None, 1, 0)
        begun = time.monotonic()
        assert self._run(folder / "unbroken", None, 1, 0) == [0, 0]
        self._seconds, self._unbroken = time.monotonic() - begun, numbers(folder / "unbroken")

    def live(self, kills: Sequence[Kill], every: int, replicas: int) -> Life:
        """Run until the end, through all kills."""
        log, hits = self._folder / f"life-{next(self._numbers)}", list[bool]()
        for kill in kills:
            hits.append(self._run(log, kill, every, replicas) != [0, 0])
            if kill.place in (Place.NODE, Place.FIRST_STEP):
                shutil.rmtree(self._place(log, 1), ignore_errors=True)
        assert self._run(log, None, every, replicas) == [0, 0]
        starts = open_history(log).history().starts
        lost, sources = [start.steps_lost for start in starts], [start.source or "" for start in starts]
        return Life(kills, every, replicas, hits, lost, sources, numbers(log) == self._unbroken)

    def _place(self, log: Path, rank: int) -> Path:
        return self._memory / f"{log.name}-{rank}"

    def _run(self, log: Path, kill: Kill | None, every: int, replicas: int) -> list[int | None]:
        """One start on two nodes with a rank each; their exit codes. One that has done its last step ends well."""
        log.mkdir(parents=True, exist_ok=True)
        if len(numbers(log)) == STEPS and (log / "checkpoints").exists():
            return [0, 0]
        values = config(
            self._tiny, log, trainer__devices=1, trainer__num_nodes=2, trainer__max_steps=STEPS,
            distributed_strategy__tensor_model_parallel_size=1, distributed_strategy__sequence_parallel=False,
            exp_manager__checkpoint_callback_params__every_n_train_steps=1000,
        )  # fmt: skip
        store, ranks = str(log / f"store-{next(self._stores)}"), []
        for rank in range(2):
            place = self._place(log, rank)
            place.mkdir(exist_ok=True)
            arguments = (rank, store, values, str(place), kill if rank == 1 else None, every, replicas)
            ranks.append(self._context.Process(target=_rank, args=arguments))
            ranks[-1].start()
        if kill is not None and kill.place in (Place.MOMENT, Place.NODE):
            ranks[1].join(kill.chance * 0.6 * self._seconds)
            ranks[1].kill()
        return join(ranks)


def _rank(
    rank: int, store: str, values: dict[str, Any], memory: str, kill: Kill | None, every: int, replicas: int
) -> None:
    import torch.distributed as dist

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2, timeout=GLOO_TIMEOUT)
    if kill is not None:
        _arm(kill)
    try:
        _train(rank, values, Path(memory), every, replicas)
    except Exception:
        os._exit(1)  # its peer is gone
    dist.destroy_process_group()


def _arm(kill: Kill) -> None:
    """Let the process die in the n-th piece that it copies, sends, or puts back."""
    from neuron_trainer.checkpoint.memory import slot
    from neuron_trainer.checkpoint.memory.exchange import PeerExchange
    from neuron_trainer.loop.step import Gradients

    match kill.place:
        case Place.COPY:
            slot._copy = _dying(slot._copy, int(kill.chance * 400))
        case Place.SENDING:
            PeerExchange._swap = _dying(PeerExchange._swap, int(kill.chance * 20))  # type: ignore[method-assign]
        case Place.FIRST_STEP:
            Gradients.compute = _dying(Gradients.compute, 0)  # type: ignore[method-assign]
        case Place.RESUME:
            slot.TensorLayout.view = _dying_in_read(int(kill.chance * 30))  # type: ignore[method-assign]


def _dying(plain: Callable[..., Any], number: int) -> Callable[..., Any]:
    calls = count()

    def call(*arguments: Any) -> Any:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*arguments)

    return call


def _dying_in_read(number: int) -> Callable[..., Any]:
    from neuron_trainer.checkpoint.memory.slot import Slot, TensorLayout

    plain, read, is_reading = TensorLayout.view, Slot.read, [False]
    calls = count()

    def mark(*arguments: Any) -> bytes:
        is_reading[0] = True
        return read(*arguments)

    def view(*arguments: Any) -> Any:
        if is_reading[0] and next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*arguments)

    Slot.read = mark  # type: ignore[method-assign]
    return view


def _train(rank: int, values: dict[str, Any], memory: Path, every: int, replicas: int) -> None:
    import torch

    from neuron_api import contract
    from neuron_api.platform.topology import Topology
    from neuron_trainer import generators
    from neuron_trainer.checkpoint.memory.agreement import MemoryTier
    from neuron_trainer.checkpoint.memory.slot import CopyIdentity
    from neuron_trainer.ipc.phases import Phases
    from neuron_trainer.ipc.worker_channel import Start
    from neuron_trainer.loop.run import Run
    from neuron_trainer.metrics.history import MetricsFile
    from neuron_trainer.run_directory.log_dir import checkpoints, log_dir

    loaded = load_text(yaml.safe_dump(values), [])
    assert loaded.config is not None, loaded.findings
    cfg, folder = loaded.config, log_dir(loaded.config)
    tier = MemoryTier(memory, CopyIdentity("", loaded.hash, "", rank, 2, 1, "cpu"), every, replicas)
    choice = tier.choose(0)
    generators.seed_generators(cfg.seed)
    run = Run.build(cfg, Topology.from_config(cfg), loaded.hash, torch.device("cpu"), lambda: False, Phases(),
                    is_fresh=not choice.step)  # fmt: skip
    metrics = MetricsFile(folder / contract.METRICS_FILE) if rank == 0 else None
    start = Start(1, memory_step=choice.step, memory_missing=list(choice.missing))
    run.fit(start, folder, checkpoints(cfg, folder), None, metrics, rank, memory=tier)


def table(lives: Sequence[Life]) -> str:
    """What happened, by place."""
    lines = [f"{'killed at':50}{'kills':>7}{'hit':>6}{'faults of their runs':>22}"]
    for place in Place:
        those = [(life, hit) for life in lives for kill, hit in zip(life.kills, life.hits, strict=True)
                 if kill.place is place]  # fmt: skip
        hit, faults = sum(hit for _, hit in those), sum(bool(life.fault) for life, _ in those)
        lines.append(f"{place.value:50}{len(those):>7}{hit:>6}{faults:>22}")
    for every in sorted({life.every for life in lives}):
        lost = [steps for life in lives if life.every == every for steps in life.lost]
        lines.append(f"a copy every {every} steps: {len(lost)} starts, {sum(lost)} steps lost, {max(lost)} at most")
    sources = [source for life in lives for source in life.sources]
    lines.append(", ".join(f"{sources.count(name)} from {name}" for name in sorted(set(sources) - {""})))
    return "\n".join(lines)
