"""Runs with background saves that are killed, or whose storage fails, at drawn instants; and the starts after it.

One run is a fork of a process that has everything imported; where it is killed is drawn from a seed: at a moment, or
between two bytes of a checkpoint. The launcher's choice of a checkpoint is the real one.
"""

import ctypes
import multiprocessing
import os
import random
import resource
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import yaml

from bounds import BOUND
from neuron_api import contract
from neuron_api.loading.loader import load_text
from neuron_trainer.launcher.elastic import forkserver

from .nodes import numbers
from .ranks import GLOO_TIMEOUT, join
from .tiny import config

STEPS: Final = 10
EVERY: Final = 2
_CAP_DAC: Final = 0b110
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: what lets root write where nobody may."""


class Kind(StrEnum):
    """What happens."""

    MOMENT = "kill -9 at a moment"
    BYTE = "kill -9 between two bytes of a save"
    FULL = "the disk is full"
    READ_ONLY = "the directory becomes read-only"


@dataclass(frozen=True, slots=True)
class Mishap:
    """Drawn from the seed."""

    kind: Kind
    world: int
    place: float
    """0..1: of the run's time, or of the bytes that its saves write."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A run with a mishap, and the start after it."""

    mishap: Mishap
    last_step: int
    """Finished before the end."""
    newest: int
    """Step of the newest complete checkpoint that was left; 0: none."""
    incomplete: int
    """Directories without marker that were left."""
    resumed: int
    """Step that the next start began from."""
    is_equal: bool
    """All its numbers are those of the unbroken run."""
    message: str
    """What a run said that could not save."""

    @property
    def lost(self) -> int:
        """Steps done again."""
        return self.last_step - self.resumed

    @property
    def fault(self) -> str:
        """What is wrong with it; empty when nothing is."""
        wrong = []
        if self.resumed != self.newest:
            wrong.append(f"resumed from {self.resumed}, {self.newest} was complete")
        if not self.is_equal:
            wrong.append("numbers differ from the unbroken run")
        if not 0 <= self.lost <= 2 * EVERY:
            wrong.append(f"{self.lost} steps lost")
        could_not_save = self.mishap.kind in (Kind.FULL, Kind.READ_ONLY) and self.last_step < STEPS
        if could_not_save and not ("could not be written to" in self.message and "step=" in self.message):
            wrong.append(f"the error was {self.message!r}")
        return "; ".join(wrong)


def draw(count: int, seed: int = 1) -> list[Mishap]:
    """Four in ten at a moment, four between bytes, one each of the others; each fifth on two ranks with zero1."""
    chance = random.Random(seed)
    kinds = [Kind.MOMENT, Kind.BYTE, Kind.BYTE, Kind.MOMENT, Kind.FULL, Kind.MOMENT, Kind.BYTE, Kind.BYTE, Kind.MOMENT,
             Kind.READ_ONLY]  # fmt: skip
    early = {Kind.FULL: 0.6, Kind.READ_ONLY: 0.6}  # so that a save comes after it
    return [
        Mishap(kind, 2 if n % 5 == 3 else 1, chance.random() * early.get(kind, 1.0))
        for n, kind in zip(range(count), cycle(kinds), strict=False)
    ]


class Campaign:
    """Trials in one directory, against the unbroken runs that it makes first."""

    def __init__(self, tiny: Path, folder: Path) -> None:
        self._tiny, self._folder = tiny, folder
        forkserver.start(4)
        self._context = multiprocessing.get_context("forkserver")
        self._seconds: dict[int, float] = {}
        self._bytes: dict[int, int] = {}
        self._numbers: dict[int, dict[int, tuple[float, ...]]] = {}
        for world in (1, 2):
            self._unbroken(world)

    def trial(self, number: int, mishap: Mishap) -> Trial:
        """Run, mishap, run again."""
        log = self._folder / f"trial-{number}"
        self._start(mishap.world, log, mishap)
        if (log / contract.CHECKPOINTS_DIR).exists():
            (log / contract.CHECKPOINTS_DIR).chmod(0o700)
        newest, incomplete = _left(log / contract.CHECKPOINTS_DIR)
        done = numbers(log)
        codes = self._start(mishap.world, log, None)
        message = (log / "error.txt").read_text() if (log / "error.txt").exists() else ""
        starts = (log / "starts.jsonl").read_text().splitlines() if (log / "starts.jsonl").exists() else []
        resumed = int(yaml.safe_load(starts[-1])["step"]) if starts and codes == [0] * mishap.world else -1
        finished = max(done, default=0)
        if finished == STEPS and newest == STEPS:
            resumed = STEPS  # there was nothing left to do
        return Trial(
            mishap, finished, newest, incomplete, resumed, numbers(log) == self._numbers[mishap.world], message
        )

    def _unbroken(self, world: int) -> None:
        log = self._folder / f"unbroken-{world}"
        self._start(world, log, None)  # the first one is slower than all others
        log = self._folder / f"unbroken-{world}-again"
        begun = time.monotonic()
        assert self._start(world, log, None) == [0] * world
        self._seconds[world] = time.monotonic() - begun
        self._numbers[world] = numbers(log)
        assert len(self._numbers[world]) == STEPS
        newest = max((log / contract.CHECKPOINTS_DIR).iterdir(), key=lambda path: path.stat().st_mtime)
        self._bytes[world] = sum(path.stat().st_size for path in newest.iterdir()) * (STEPS // EVERY)

    def _start(self, world: int, log: Path, mishap: Mishap | None) -> list[int | None]:
        """One start on `world` ranks; their exit codes."""
        values = _values(self._tiny, log, world)
        log.mkdir(parents=True, exist_ok=True)
        store = log / f"store-{time.monotonic_ns()}"
        kill_at = -1
        if mishap is not None and mishap.kind is Kind.BYTE:
            kill_at = int(mishap.place * self._bytes[world] / world)
        is_weak = mishap is not None and mishap.kind is Kind.READ_ONLY
        ranks = [
            self._context.Process(target=_rank, args=(rank, world, str(store), values, kill_at, is_weak))
            for rank in range(world)
        ]
        for rank in ranks:
            rank.start()
        if mishap is not None and mishap.kind is not Kind.BYTE:
            self._strike(mishap, ranks, log)
        return join(ranks)

    def _strike(self, mishap: Mishap, ranks: Sequence[Any], log: Path) -> None:
        """At the drawn moment; a run that has ended by then was not hit."""
        if mishap.kind is Kind.MOMENT:
            ranks[0].join(mishap.place * self._seconds[mishap.world])
        else:
            _until_step(int(mishap.place * STEPS), ranks[0], log)
        for rank in ranks:
            if mishap.kind is Kind.MOMENT:
                rank.kill()
            elif mishap.kind is Kind.FULL and rank.is_alive():
                resource.prlimit(rank.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
        if mishap.kind is Kind.READ_ONLY:
            (log / contract.CHECKPOINTS_DIR).mkdir(exist_ok=True)
            (log / contract.CHECKPOINTS_DIR).chmod(0o500)


def _until_step(step: int, rank: Any, log: Path) -> None:
    """Wait until so many steps are logged, or the run has ended."""
    lines, deadline = log / contract.METRICS_FILE, time.monotonic() + BOUND
    while rank.is_alive() and time.monotonic() < deadline:
        if lines.exists() and lines.read_bytes().count(b"\n") >= step:
            return
        rank.join(0.005)


def _values(tiny: Path, log: Path, world: int) -> dict[str, Any]:
    return config(
        tiny, log, trainer__devices=world, trainer__num_nodes=1, trainer__max_steps=STEPS,
        distributed_strategy__tensor_model_parallel_size=1, distributed_strategy__sequence_parallel=False,
        exp_manager__async_checkpointing=True, exp_manager__checkpoint_callback_params__every_n_train_steps=EVERY,
    )  # fmt: skip


def _left(checkpoints: Path) -> tuple[int, int]:
    from neuron_trainer.checkpoint import catalog

    complete = catalog.complete(checkpoints)
    return (complete[0].step if complete else 0), len(catalog.incomplete(checkpoints))


def _rank(rank: int, world: int, store: str, values: dict[str, Any], kill_at: int, is_weak: bool) -> None:
    import torch.distributed as dist

    if kill_at >= 0 and rank == world - 1:
        _kill_at(kill_at)
    if is_weak:
        _drop_rights()
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=world, timeout=GLOO_TIMEOUT)
    try:
        _train(rank, values)
    except Exception as problem:
        (Path(values["exp_manager"]["explicit_log_dir"]) / "error.txt").write_text(str(problem))
        os._exit(1)
    dist.destroy_process_group()


def _kill_at(byte: int) -> None:
    """SIGKILL of this process when it has written so many bytes of checkpoints; a part of a write is written first."""
    from neuron_trainer.checkpoint import shards
    from neuron_trainer.storage import places

    written, plain, plain_write = 0, shards.HashingFile.write, places.write

    def count(size: int) -> int:
        """Bytes that may still be written; the rest is not."""
        nonlocal written
        before, written = written, written + size
        return max(0, min(size, byte - before))

    def write(file: shards.HashingFile, data: Any) -> int:
        view = memoryview(data).cast("B")
        if (left := count(view.nbytes)) < view.nbytes:
            plain(file, view[:left])
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(file, data)

    def write_file(path: Path, content: bytes) -> None:
        if (left := count(len(content))) < len(content):
            path.write_bytes(content[:left])
            os.kill(os.getpid(), signal.SIGKILL)
        plain_write(path, content)

    shards.HashingFile.write, places.write = write, write_file  # type: ignore[method-assign]


def _drop_rights() -> None:
    """Root may write into any directory; this process may no longer."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, data)
    data[0] &= ~_CAP_DAC  # effective, of the first 32
    if libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _train(rank: int, values: dict[str, Any]) -> None:
    import torch

    from neuron_api.platform.topology import Topology
    from neuron_trainer import generators
    from neuron_trainer.ipc.phases import Phases
    from neuron_trainer.ipc.worker_channel import Start
    from neuron_trainer.launcher.checkpoint_selector import CheckpointSelector
    from neuron_trainer.loop.run import Run
    from neuron_trainer.metrics.history import MetricsFile
    from neuron_trainer.run_directory.log_dir import checkpoints, log_dir

    loaded = load_text(yaml.safe_dump(values), [])
    assert loaded.config is not None, loaded.findings
    cfg, folder = loaded.config, log_dir(loaded.config)
    chooser = CheckpointSelector(cfg, folder, "")
    if chooser.finished() is not None:
        return
    choice: list[Any] = [chooser.choose() if rank == 0 else None]
    torch.distributed.broadcast_object_list(choice, src=0)
    checkpoint, weights_only = choice[0].checkpoint, choice[0].weights_only
    generators.seed_generators(cfg.seed)
    run = Run.build(cfg, Topology.from_config(cfg), loaded.hash, torch.device("cpu"), lambda: False, Phases(),
                    is_fresh=checkpoint is None)  # fmt: skip
    metrics = MetricsFile(folder / contract.METRICS_FILE) if rank == 0 else None
    run.fit(Start(0, checkpoint, weights_only), folder, checkpoints(cfg, folder), None, metrics, rank)


def table(trials: Sequence[Trial]) -> str:
    """What happened, by kind."""
    head = f"{'':38}{'runs':>6}{'hit':>6}{'in a save':>11}{'resumed':>9}{'equal':>7}{'lost':>6}{'most':>6}{'faults':>8}"
    lines = [head]
    for kind in Kind:
        those = [trial for trial in trials if trial.mishap.kind is kind]
        hit = [trial for trial in those if trial.last_step < STEPS or trial.incomplete]
        lines.append(
            f"{kind.value:38}{len(those):>6}{len(hit):>6}{sum(bool(t.incomplete) for t in those):>11}"
            f"{sum(t.newest > 0 for t in hit):>9}{sum(t.is_equal for t in those):>7}{sum(t.lost for t in those):>6}"
            f"{max((t.lost for t in those), default=0):>6}{sum(bool(t.fault) for t in those):>8}"
        )
    return "\n".join(lines)
