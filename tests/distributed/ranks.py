"""Ranks without launchers: forks that share a process group and train one configuration after the other.

For questions about numbers, where starting launchers (10 s each) would only cost time.
"""

import gc
import multiprocessing
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import zip_longest
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import yaml

from bounds import BOUND, IDLE
from neuron_api import contract
from neuron_api.loading.loader import load_text
from neuron_trainer.launcher.elastic import forkserver

GLOO_TIMEOUT = timedelta(seconds=BOUND)
BACKEND: str | None = None
"""Name of the only one that ranks know; the fixture `backend` sets it. None: all there are."""


def train(
    world: int,
    configurations: list[dict[str, Any]],
    checkpoints: Sequence[Path | None] = (),
    device: Any = None,
) -> None:
    """Train each configuration on `world` processes; its numbers are in the metrics file of its log directory.

    With `checkpoints` each goes on from its own; `device`: a `devices.Device`, by default the CPU.
    """
    jobs = list(zip_longest(configurations, checkpoints))
    with tempfile.TemporaryDirectory() as folder:
        run(_rank, world, f"{folder}/store", jobs, device)


def run(target: Callable[..., None], world: int, *arguments: Any) -> None:
    """`target(rank, world, *arguments)` on `world` processes, which must all end well."""
    forkserver.start(4)  # more than one: each process computes with one thread
    context = multiprocessing.get_context("forkserver")
    ranks = [context.Process(target=_enter, args=(BACKEND, target, rank, world, *arguments)) for rank in range(world)]
    for rank in ranks:
        rank.start()
    codes = join(ranks)
    assert codes == [0] * world, f"ranks ended with {codes} (None: did not compute for {IDLE:.0f} s)"


def _enter(backend: str | None, target: Callable[..., None], *arguments: Any) -> None:
    from torch.multiprocessing import _prctl_pr_set_pdeathsig  # type: ignore[attr-defined]

    _prctl_pr_set_pdeathsig(signal.SIGKILL)  # the forkserver's end is that of the tests
    if backend is not None:
        from neuron_trainer.parallel import registry

        for name in set(registry.PACKAGES) - {backend}:
            del registry.PACKAGES[name]
        registry.provider(backend).accepts = _accept_all  # type: ignore[method-assign]
    target(*arguments)


def _accept_all(*_: Any) -> bool:
    """Every backend computes on hosts, whatever device it is for."""
    return True


@contextmanager
def groups_of_one_run(device: Any = None) -> Iterator[None]:
    """Destroy the process groups that are made inside, on all ranks together; `device`: that of the run.

    Each has a thread of gloo that wakes a hundred times a second: after some hundred runs in one process, with three
    groups each, these cost more than the runs.
    """
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import _world

    from neuron_trainer.parallel import hosts

    before = set(_world.pg_map)
    yield
    dist.barrier(hosts.group())  # nobody destroys what another still waits for
    for group in set(_world.pg_map) - before:
        dist.destroy_process_group(group)
    _forget_meshes(device)
    gc.collect()  # a module and its hooks hold each other, and the groups


def _forget_meshes(device: Any) -> None:
    """Clear the caches of DTensor, whose entries hold meshes of groups that are gone: an equal mesh would find them.

    Each thread has one, and the backward pass of a device has a thread of its own.
    """
    import torch
    from torch.distributed.tensor import _redistribute, debug

    class Forget(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, value: Any) -> Any:
            return value.clone()

        @staticmethod
        def backward(_: Any, gradient: Any) -> Any:
            debug._clear_sharding_prop_cache()
            return gradient

    if device is not None and device.type != "cpu":
        Forget.apply(torch.zeros(1, device=device, requires_grad=True)).sum().backward()
    debug._clear_sharding_prop_cache()
    _redistribute.clear_redistribute_planner_cache()
    _redistribute._gen_transform_infos.cache_clear()


def full(parameter: Any) -> Any:
    """The whole of a parameter, on every process; a collective."""
    return parameter.gathered().clone()  # what every process has is no copy, and the next step changes it


def join(ranks: Sequence[Any], idle: float = IDLE) -> list[int | None]:
    """Wait for processes that belong together; their exit codes, None for those that had to be killed.

    When one has failed the others go, as a launcher does it. A group is hung when none of its processes has used a
    processor for `idle` seconds of wall clock: a busy machine slows all of them down, but stops none.
    """
    used, since = 0, time.monotonic()
    while running := [rank for rank in ranks if rank.exitcode is None]:
        if any(rank.exitcode for rank in ranks) or time.monotonic() - since > idle:
            break
        wait([rank.sentinel for rank in running], 1.0)
        if (now := sum(map(_ticks, running))) != used:
            used, since = now, time.monotonic()
    codes = [rank.exitcode for rank in ranks]
    for rank in ranks:
        rank.kill()
        rank.join()
    return codes


def _ticks(rank: Any) -> int:
    """Of a processor, that the process has used with all its threads; 0 where it has ended."""
    try:
        fields = Path(f"/proc/{rank.pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(fields[11]) + int(fields[12])


def _rank(
    rank: int,
    world: int,
    store: str,
    jobs: list[tuple[dict[str, Any], Path | None]],
    device: Any,
) -> None:
    from . import devices

    with (device or devices.CPU).group(rank, world, store) as opened:
        for values, checkpoint in jobs:
            with groups_of_one_run(opened):
                _train(rank, world, values, checkpoint, opened)


def _train(rank: int, world: int, values: dict[str, Any], checkpoint: Path | None, device: Any = None) -> None:
    """`device`: a `torch.device`, by default the CPU."""
    import torch

    from neuron_api.platform.topology import Topology
    from neuron_trainer import generators
    from neuron_trainer.ipc.phases import Phases
    from neuron_trainer.ipc.worker_channel import Start
    from neuron_trainer.loop.run import Run
    from neuron_trainer.metrics.history import MetricsFile
    from neuron_trainer.run_directory.log_dir import checkpoints, log_dir

    loaded = load_text(yaml.safe_dump(values), [])
    assert loaded.config is not None, loaded.findings
    config, folder, phases = loaded.config, log_dir(loaded.config), Phases()
    folder.mkdir(parents=True, exist_ok=True)
    generators.seed_generators(config.seed)
    topology = Topology.from_config(config, world // config.trainer.num_nodes)
    device = torch.device("cpu") if device is None else device
    is_fresh = Run.draws_weights(str(checkpoint) if checkpoint else None)
    run = Run.build(config, topology, loaded.hash, device, lambda: False, phases, is_fresh=is_fresh)
    metrics = MetricsFile(folder / contract.METRICS_FILE) if rank == 0 else None
    run.fit(
        Start(0, str(checkpoint) if checkpoint else None),
        Path(folder),
        checkpoints(config, folder),
        None,
        metrics,
        rank,
    )
