"""Ranks without launchers: forks that share a process group and train one configuration after the other.

For questions about numbers, where starting launchers (10 s each) would only cost time.
"""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

from neuron_api import contract
from neuron_api.loading import load_text
from neuron_trainer.launcher import forkserver

from .nodes import BOUND

GLOO_TIMEOUT = timedelta(seconds=60)


def train(world: int, configurations: list[dict[str, Any]], checkpoints: Sequence[Path] = ()) -> None:
    """Train each configuration on `world` processes; its numbers are in the metrics file of its log directory.

    With `checkpoints` each goes on from its own.
    """
    jobs = list(zip_longest(configurations, checkpoints))
    with tempfile.TemporaryDirectory() as folder:
        run(_rank, world, f"{folder}/store", jobs, bound=BOUND * len(configurations))


def run(target: Callable[..., None], world: int, *arguments: Any, bound: float = BOUND) -> None:
    """`target(rank, world, *arguments)` on `world` processes, which must all end well within `bound` seconds."""
    forkserver.start(4)  # more than one: each process computes with one thread
    context = multiprocessing.get_context("forkserver")
    ranks = [context.Process(target=target, args=(rank, world, *arguments)) for rank in range(world)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(bound)
    codes = [rank.exitcode for rank in ranks]
    for rank in ranks:
        rank.kill()
        rank.join()
    assert codes == [0] * world, f"ranks ended with {codes}"


def _rank(rank: int, world: int, store: str, jobs: list[tuple[dict[str, Any], Path | None]]) -> None:
    import torch.distributed as dist

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=world, timeout=GLOO_TIMEOUT)
    for values, checkpoint in jobs:
        _train(rank, world, values, checkpoint)
    dist.destroy_process_group()


def _train(rank: int, world: int, values: dict[str, Any], checkpoint: Path | None) -> None:
    import torch

    from neuron_api.topology import Topology
    from neuron_trainer.checkpoint import rng
    from neuron_trainer.handoff import Start
    from neuron_trainer.log_dir import checkpoints, log_dir
    from neuron_trainer.loop.run import Run
    from neuron_trainer.metrics_file import MetricsFile
    from neuron_trainer.phases import Phases

    loaded = load_text(yaml.safe_dump(values), [])
    assert loaded.config is not None, loaded.findings
    config, folder, phases = loaded.config, log_dir(loaded.config), Phases()
    folder.mkdir(parents=True, exist_ok=True)
    rng.seed(config.seed)
    topology = Topology.of(config, world // config.trainer.num_nodes)
    device = torch.device("cpu")
    run = Run.build(config, topology, loaded.hash, device, lambda: False, phases, is_fresh=checkpoint is None)
    metrics = MetricsFile(folder / contract.METRICS_FILE) if rank == 0 else None
    run.fit(
        Start(0, str(checkpoint) if checkpoint else None),
        Path(folder),
        checkpoints(config, folder),
        None,
        metrics,
        rank,
    )
