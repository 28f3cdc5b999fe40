"""Keys at the top level that only show in processes: environment variables, and the time that a collective may take."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from bounds import BOUND
from neuron_api.loading.loader import load_text
from neuron_trainer.launcher.elastic import forkserver

from .nodes import Gang, free_port, until, variables, workers
from .tiny import config, write_config

pytestmark = pytest.mark.distributed


def test_a_worker_has_the_users_flags_then_the_configurations_then_those_of_its_precision(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = config(
        tiny, tmp_path / "log", trainer__devices=1, trainer__num_nodes=1, trainer__max_steps=10_000,
        distributed_strategy={}, precision__type="fp32",
    )  # fmt: skip
    values |= {
        "compiler_flags": "--model-type transformer", "compiler_cache_url": "/tmp/cache",
        "aync_exec_max_inflight_requests": 5, "neuron_rt_exec_timeout": 100, "neuron_experimental_compress_rg": True,
    }  # fmt: skip
    monkeypatch.setenv("NEURON_CC_FLAGS", "--O1")
    monkeypatch.setenv("NEURON_RT_EXEC_TIMEOUT", "77")
    with Gang(tmp_path, write_config(tmp_path / "config.yaml", values), 1) as gang:
        launcher = gang.start(0)
        seen = until("a worker", lambda: next(filter(None, map(variables, workers(launcher))), None), gang=gang)
    assert seen["NEURON_CC_FLAGS"] == "--O1 --model-type transformer --auto-cast none"
    assert seen["NEURON_COMPILE_CACHE_URL"] == "/tmp/cache"
    assert seen["NEURON_RT_ASYNC_EXEC_MAX_INFLIGHT_REQUESTS"] == "5"
    assert seen["NEURON_EXPERIMENTAL_COMPRESS_RG"] == "1"
    assert seen["NEURON_RT_EXEC_TIMEOUT"] == "77", "the user's own value wins"
    assert seen["CUDA_VISIBLE_DEVICES"] == "", "on CPUs nobody looks for other devices"


def _peers(rank: int, port: int, folder: Path, values: dict[str, Any]) -> None:
    """Rank 1 never joins the collective; rank 0 says how long it waited, and for what it takes the end."""
    import torch
    import torch.distributed as dist

    from neuron_trainer import worker
    from neuron_trainer.ipc import process_group

    os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    worker._MIN_TIMEOUT = 2  # type: ignore[misc]  # 30 in use
    loaded = load_text(yaml.safe_dump(values))
    assert loaded.config is not None
    _meet(folder, "ready", rank)  # the time that meeting may take is short too: both have their imports behind them
    worker._initialise(loaded.config, "cpu", rank)
    _meet(folder, "up", rank)
    if rank == 1:
        time.sleep(BOUND)
    begun = time.monotonic()
    try:
        dist.all_reduce(torch.ones(1))
    except RuntimeError as problem:
        is_loss = process_group.is_peer_loss(problem, "cpu")
        (folder / "said").write_text(f"{time.monotonic() - begun} {is_loss} {problem}")
        raise SystemExit(3) from None


def _meet(folder: Path, where: str, rank: int) -> None:
    (folder / f"{where}-{rank}").touch()
    until(f"both ranks {where}", lambda: all((folder / f"{where}-{each}").exists() for each in range(2)) or None)


@pytest.mark.parametrize("is_killed", [False, True], ids=["hangs", "is killed"])
def test_a_rank_that_is_lost_ends_the_others_within_the_time_of_a_collective(
    is_killed: bool, tiny: Path, tmp_path: Path
) -> None:
    values = {**config(tiny, tmp_path), "neuron_rt_exec_timeout": int(BOUND) if is_killed else 3}
    forkserver.start(2)
    context = multiprocessing.get_context("forkserver")
    port = free_port()
    zero, one = (context.Process(target=_peers, args=(rank, port, tmp_path, values)) for rank in range(2))
    zero.start()
    one.start()
    until("both ranks", lambda: all((tmp_path / f"up-{rank}").exists() for rank in range(2)) or None)
    try:
        if is_killed:
            assert one.pid is not None
            os.kill(one.pid, signal.SIGKILL)
        zero.join(BOUND)
        assert zero.exitcode == 3
    finally:
        for process in (zero, one):
            process.kill()
            process.join()
    seconds, is_loss, _ = (tmp_path / "said").read_text().split(" ", 2)
    assert is_loss == "True"
    assert float(seconds) < BOUND / 2, "well within the time that a rank may take whose peers are alive"
    assert is_killed or float(seconds) > 2.5
