"""What a copy of the state in memory after every step costs. `make bench-memory`.

One run of the trainer, one process or two: blocks of steps with and without copies in turns. Beside them a plain copy
of the same tensors into a buffer that is reused, by one thread. The stall is what the computing thread spends: on the
trainer's state, waiting for the copy before the update, and after it until all processes have theirs and, with two,
each other's. One JSON line.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

warnings.simplefilter("ignore")

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
import yaml  # noqa: E402
from benchmarks import checkpoint  # noqa: E402

from neuron_api import contract  # noqa: E402
from neuron_api.loading.loader import load_text  # noqa: E402
from neuron_api.platform.topology import Topology  # noqa: E402
from neuron_trainer import generators, run_config  # noqa: E402
from neuron_trainer.checkpoint.memory.agreement import MemoryTier  # noqa: E402
from neuron_trainer.checkpoint.memory.slot import CopyIdentity  # noqa: E402
from neuron_trainer.ipc.phases import Phases  # noqa: E402
from neuron_trainer.ipc.worker_channel import Start  # noqa: E402
from neuron_trainer.launcher.memory_folder import SHARED_MEMORY  # noqa: E402
from neuron_trainer.loop import run as loop  # noqa: E402
from neuron_trainer.loop.checkpointing import MemoryCheckpointing  # noqa: E402
from neuron_trainer.metrics.history import MetricsFile  # noqa: E402
from neuron_trainer.run_directory import log_dir  # noqa: E402

STALL, SPEED = 1.2, 0.97
BLOCK: Final = 4
"""Steps in a row with copies, or without."""


class InTurns(MemoryCheckpointing):
    """Makes copies in every other block, and takes the times of all."""

    steps: Final[dict[bool, list[float]]] = {True: [], False: []}
    """Seconds of the steps by whether there are copies, without the first of each block."""
    processor: Final[dict[bool, list[float]]] = {True: [], False: []}
    """Processor seconds of all threads of the same steps: on a machine with other work they say more."""
    stalls: Final[list[float]] = []
    plain: Final[list[float]] = []
    """Seconds of a plain copy."""
    size = 0
    """Bytes of a copy."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        self._tensors = [item.local for item in self._state.in_memory().values()]
        self._buffers = [torch.empty_like(tensor) for tensor in self._tensors]
        InTurns.size = sum(tensor.numel() * tensor.element_size() for tensor in self._tensors)
        self._stall, self._begun, self._used = 0.0, time.perf_counter(), time.process_time()
        wait = self._copies.end_copy

        def waited() -> Callable[[], None]:
            begun = time.perf_counter()
            confirm = wait()
            self._stall += time.perf_counter() - begun

            def confirmed() -> None:
                begun = time.perf_counter()
                confirm()
                self._stall += time.perf_counter() - begun

            return confirmed

        pl_module.before_update = waited

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        step, now = trainer.global_step, time.perf_counter()
        block, place = divmod(step - 1, BLOCK)
        is_on = block % 2 == 1
        if block and place:
            self.steps[is_on].append(now - self._begun)
            self.processor[is_on].append(time.process_time() - self._used)
            if is_on:
                self.stalls.append(self._stall)
        self._stall, self._begun, self._used = 0.0, time.perf_counter(), time.process_time()
        if is_on:
            super().on_train_batch_end(trainer, pl_module, *rest)
            self._stall = time.perf_counter() - self._begun
        elif not place:
            self.plain.append(_copied(self._buffers, self._tensors))
            self._begun, self._used = time.perf_counter(), time.process_time()


def _copied(targets: list[torch.Tensor], sources: list[torch.Tensor]) -> float:
    begun = time.perf_counter()
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source.detach())
    return time.perf_counter() - begun


def main() -> int:
    """0 when both figures are within their bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=12, help="with copies, and as many without; default 12")
    parser.add_argument("--samples", type=int, default=32, help="of 128 tokens in a step; default 32")
    parser.add_argument("--threads", type=int, default=1, help="that compute; default 1")
    parser.add_argument("--nodes", type=int, default=1, choices=(1, 2), help="2: each holds the other's copies, too")
    chosen = parser.parse_args()
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    memory = Path(tempfile.mkdtemp(prefix="bench-memory-", dir=SHARED_MEMORY))
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            job = _job(folder, (2 * chosen.blocks + 1) * BLOCK + 1, chosen)
            ranks = multiprocessing.get_context("spawn")
            others = [ranks.Process(target=_rank, args=(rank, job, memory, chosen)) for rank in range(1, chosen.nodes)]
            for other in others:
                other.start()
            _rank(0, job, memory, chosen)
            for other in others:
                other.join()
    finally:
        shutil.rmtree(memory)
    return _report(chosen)


def _rank(rank: int, job: Path, memory: Path, chosen: argparse.Namespace) -> None:
    """Train; with two nodes each process is one, and has a folder of its own."""
    torch.set_num_threads(chosen.threads)
    store = dist.FileStore(str(job.parent / "store"), chosen.nodes)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=chosen.nodes)
    loop.MemoryCheckpointing = InTurns  # type: ignore[attr-defined]
    folder = memory / str(rank)
    folder.mkdir()
    try:
        _train(rank, job, folder, chosen.nodes)
    finally:
        dist.destroy_process_group()


def _report(chosen: argparse.Namespace) -> int:
    on, off = (statistics.median(InTurns.steps[is_on]) for is_on in (True, False))
    used_on, used_off = (statistics.median(InTurns.processor[is_on]) for is_on in (True, False))
    stall, plain = statistics.median(InTurns.stalls), statistics.median(InTurns.plain)
    result = {
        "case": "a copy in memory after every step",
        "replicas": chosen.nodes - 1,
        "megabytes": round(InTurns.size / 1e6, 1),
        "step_ms": round(off * 1e3, 1),
        "step_with_copies_ms": round(on * 1e3, 1),
        "tokens_per_second": round(off / on, 3),
        "tokens_per_second_bar": SPEED,
        "processor_seconds": round(used_on / used_off, 3),
        "plain_copy_ms": round(plain * 1e3, 1),
        "stall_ms": round(stall * 1e3, 1),
        "stall": round(stall / plain, 2),
        "stall_bar": STALL,
        "steps": len(InTurns.steps[True]),
        "threads": chosen.threads,
        "load": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
    }
    print(json.dumps(result), flush=True)
    return 0 if off / on >= SPEED and stall / plain <= STALL else 1


def _job(folder: Path, steps: int, chosen: argparse.Namespace) -> Path:
    job = checkpoint._job(folder)
    values = yaml.safe_load(job.read_text())
    values["trainer"] |= {"max_steps": steps, "log_every_n_steps": 1000, "num_nodes": chosen.nodes}
    values["data"]["global_batch_size"] = chosen.samples
    job.write_text(yaml.safe_dump(values))
    return job


def _train(rank: int, job: Path, memory: Path, nodes: int) -> None:
    loaded = load_text(job.read_text(), [])
    assert loaded.config is not None, loaded.findings
    config = run_config.for_training(loaded.config)
    log = log_dir.log_dir(config)
    log.mkdir(parents=True, exist_ok=True)
    generators.seed_generators(config.seed)
    run = loop.Run.build(
        config, Topology.from_config(config), loaded.hash, torch.device("cpu"), lambda: False, Phases()
    )
    tier = MemoryTier(memory, CopyIdentity("bench", loaded.hash, "", rank, nodes, 1, "cpu"), 1, nodes - 1)
    metrics = MetricsFile(log / contract.METRICS_FILE) if rank == 0 else None
    run.fit(Start(0), log, log_dir.checkpoints(config, log), None, metrics, rank, memory=tier)


if __name__ == "__main__":
    sys.exit(main())
