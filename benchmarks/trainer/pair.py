"""Several processes on this machine: our replicas against DistributedDataParallel, in turns."""

import json
import multiprocessing
import os
import statistics
import time
from pathlib import Path
from typing import Any, Final

import torch
import torch.distributed as dist

from .setting import CLIP, LR, Size, batches, config, loss_of, module

_STEPS: Final = 10
_WARM: Final = 3
Times = dict[str, dict[str, list[float]]]
"""By loop: `step`, seconds, and `exposed`, those of them in which the main thread computed nothing; one a round."""


def measure(folder: Path, size: Size, rounds: int, world: int = 2) -> Times:
    """Medians of each round, of rank 0."""
    context = multiprocessing.get_context("spawn")
    store = folder / f"store-{time.monotonic_ns()}"
    ranks = [context.Process(target=_rank, args=(rank, world, store, folder, size, rounds)) for rank in range(world)]
    for one in ranks:
        one.start()
    for one in ranks:
        one.join()
    assert all(one.exitcode == 0 for one in ranks), [one.exitcode for one in ranks]
    found: Times = json.loads((folder / "pair.json").read_text())
    return found


def by_processes(folder: Path, size: Size, world: int) -> dict[str, float]:
    """Seconds of a step with the same samples for each process."""
    found = measure(folder, size, 1, world)
    return {name: statistics.median(values["step"]) for name, values in found.items()}


def _rank(rank: int, world: int, store: Path, folder: Path, size: Size, rounds: int) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=world)
    found: Times = {name: {"step": [], "exposed": []} for name in ("ours", "ddp")}
    own = folder / str(rank)
    loops = {"ours": _ours(own, size, world), "ddp": _ddp(own, size, world)}
    for _ in range(rounds):
        for name, step in loops.items():
            for key, value in _time(step).items():
                found[name][key].append(value)
    if rank == 0:
        (folder / "pair.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def _time(step: Any) -> dict[str, float]:
    walls, computed = [], []
    for number in range(_STEPS):
        dist.barrier()
        wall, cpu = time.perf_counter(), time.thread_time()
        step()
        if number >= _WARM:
            walls.append(time.perf_counter() - wall)
            computed.append(time.thread_time() - cpu)
    exposed = [wall - cpu for wall, cpu in zip(walls, computed, strict=True)]
    return {"step": statistics.median(walls), "exposed": statistics.median(exposed)}


def _ours(folder: Path, size: Size, world: int) -> Any:
    from neuron_api.platform.topology import Topology
    from neuron_trainer import optim, parallel
    from neuron_trainer.loop.step import Gradients
    from neuron_trainer.models.family import Family

    wanted = config(folder, size, "fp32", 1, trainer__devices=world, data__global_batch_size=size.rows * world)
    backend = parallel.create(wanted, Topology.from_config(wanted, world), torch.device("cpu"))
    backend.build(Family.from_config(wanted))
    optimizer, gradients = optim.for_run(wanted, backend.parameters()), Gradients(backend, CLIP)
    ids = batches(size)[: size.rows]
    labels = torch.nn.functional.pad(ids[:, 1:], (0, 1), value=-100)

    def step() -> None:
        vote = backend.begin_vote(False, False)
        gradients.compute({"input_ids": ids, "labels": labels}).loss.item()
        optimizer.step()
        backend.end_step(0)
        vote()

    return step


def _ddp(folder: Path, size: Size, world: int) -> Any:
    model = torch.nn.parallel.DistributedDataParallel(
        module(config(folder, size, "fp32", 1)), gradient_as_bucket_view=True
    )
    optimizer, ids = torch.optim.AdamW(model.parameters(), lr=LR, foreach=True), batches(size)[: size.micro]

    def step() -> None:
        loss = loss_of(model(ids), ids)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP, foreach=True)
        optimizer.step()
        optimizer.zero_grad()
        total = loss.detach()
        dist.all_reduce(total)  # the loss is logged here, too
        (total / world).item()

    return step
