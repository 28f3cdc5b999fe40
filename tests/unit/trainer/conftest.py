"""One process group of one process, in this process; a tiny job on disk; and a run of it that is made once."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import yaml

from distributed.tiny import MODEL, config, write_rows
from neuron_api import contract
from neuron_api.config import TrainingConfig
from neuron_api.loading.loader import load_text
from neuron_trainer import run_config
from neuron_trainer.checkpoint.memory.agreement import MemoryTier
from neuron_trainer.ipc.phases import Phases
from neuron_trainer.ipc.worker_channel import Start, WorkerChannel
from neuron_trainer.run_directory import log_dir


def pytest_configure(config: pytest.Config) -> None:
    # Lightning 2.6 on torch 2.14, about its own code; the trainer's forkserver has the same filter.
    config.addinivalue_line("filterwarnings", "ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with `model.json` and `data` (64 rows of 32 tokens)."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "model.json").write_text(json.dumps(MODEL))
    write_rows(folder / "data", rows=64)
    return folder


@pytest.fixture(scope="session")
def one_process() -> Iterator[None]:
    """A process group of this process alone, without a port."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()
    del os.environ["GLOO_SOCKET_IFNAME"]
    torch.set_num_threads(threads)


def alone(tiny: Path, folder: Path, **changes: Any) -> dict[str, Any]:
    """The tiny job on one process."""
    one = {
        "trainer__devices": 1,
        "trainer__num_nodes": 1,
        "distributed_strategy__tensor_model_parallel_size": 1,
        "distributed_strategy__sequence_parallel": False,
    }
    return config(tiny, folder, **{**one, **changes})


def typed(values: dict[str, Any]) -> TrainingConfig:
    """As the loader gives it."""
    loaded = load_text(yaml.safe_dump(values))
    assert loaded.config is not None, loaded.findings
    return loaded.config


def train(
    values: dict[str, Any],
    start: Start | None = None,
    handoff: WorkerChannel | None = None,
    wants_stop: Callable[[], Any] = lambda: False,
    memory: MemoryTier | None = None,
) -> Path:
    """A start of a run in this process (fixture `one_process`); returns its log directory."""
    from neuron_api.platform.topology import Topology
    from neuron_trainer import generators
    from neuron_trainer.loop.run import Run
    from neuron_trainer.metrics.history import MetricsFile

    typed_config = run_config.with_record_length(typed(values))
    folder = log_dir.log_dir(typed_config)
    folder.mkdir(parents=True, exist_ok=True)
    generators.seed_generators(typed_config.seed)
    is_fresh, stops = Run.draws_weights(start.checkpoint if start is not None else None), lambda: bool(wants_stop())
    run = Run.build(
        typed_config,
        Topology.from_config(typed_config),
        "hash",
        torch.device("cpu"),
        stops,
        Phases(),
        is_fresh=is_fresh,
    )
    metrics = MetricsFile(folder / contract.METRICS_FILE)
    places = log_dir.checkpoints(typed_config, folder)
    run.fit(start or Start(0), folder, places, handoff, metrics, rank=0, memory=memory)
    return folder


@pytest.fixture(scope="session")
def trained(tiny: Path, one_process: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Log directory of 6 steps with a checkpoint after every second one, all kept. Read only."""
    folder = tmp_path_factory.mktemp("trained")
    return train(
        alone(
            tiny,
            folder,
            trainer__max_steps=6,
            exp_manager__checkpoint_callback_params__every_n_train_steps=2,
            exp_manager__checkpoint_callback_params__save_top_k=-1,
        )
    )
