"""A run that begins with a model of `transformers`: each process reads its own part of the tensors, exactly."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml

from neuron_api.loading.loader import load_text

from . import ranks
from .ranks import GLOO_TIMEOUT
from .tiny import MODEL, config

pytestmark = [pytest.mark.distributed, pytest.mark.usefixtures("backend")]

WORLD = 4
MODELS: dict[str, dict[str, Any]] = {
    "llama": {"num_hidden_layers": 4},
    "tied": {"num_hidden_layers": 4, "tie_word_embeddings": True},
    "mixtral": {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 4},
}
SPLITS: dict[str, dict[str, Any]] = {
    "tensor 2, zero1": {"tensor_model_parallel_size": 2, "sequence_parallel": True, "zero1": True},
    "tensor 4": {"tensor_model_parallel_size": 4, "sequence_parallel": False, "zero1": False},
    "pipeline 2, virtual 2, zero1": {"pipeline_model_parallel_size": 2, "virtual_pipeline_model_parallel_size": 2,
                                     "tensor_model_parallel_size": 1, "sequence_parallel": False, "zero1": True},
    "expert 2, tensor 2": {"expert_model_parallel_size": 2, "tensor_model_parallel_size": 2,
                           "sequence_parallel": True, "zero1": True},
}  # fmt: skip
CASES = [(model, split) for model in MODELS for split in SPLITS if "expert" not in split or model == "mixtral"]
LARGE = {**MODEL, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 4, "vocab_size": 16384,
         "num_attention_heads": 8, "num_key_value_heads": 4}  # fmt: skip
"""116 MB in fp32."""


def published(folder: Path, values: dict[str, Any]) -> Path:
    """A model as transformers saves it, in several files."""
    own = dict(values)
    made = transformers.AutoConfig.for_model(own.pop("model_type"), **own)
    transformers.set_seed(5)
    model = transformers.AutoModelForCausalLM.from_config(made)
    model.save_pretrained(folder, max_shard_size="50KB" if values["hidden_size"] < 100 else "50MB")
    return folder


def typed(folder: Path, log: Path, world: int, split: dict[str, Any], **model: Any) -> Any:
    values = config(folder, log, trainer__devices=world, trainer__num_nodes=1)
    values["distributed_strategy"] = split
    values["model"] |= {"model_config": str(folder / "config.json"), **model}
    values["data"]["global_batch_size"] = 16
    loaded = load_text(yaml.safe_dump(values))
    assert loaded.config is not None, loaded.findings
    return loaded.config


def state_of(folder: Path, wanted: Any, world: int) -> Any:
    """A built run that has read the model, as a start with `resume_from_checkpoint` makes it."""
    from neuron_api.platform.topology import Topology
    from neuron_trainer.ipc.phases import Phases
    from neuron_trainer.loop.run import Run

    run = Run.build(
        wanted, Topology.from_config(wanted, world), "", torch.device("cpu"), lambda: False, Phases(), is_fresh=False
    )
    run.state.load_weights(folder)
    return run.state


def _rank(rank: int, world: int, folder: Path) -> None:
    import torch.distributed as dist

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=world, timeout=GLOO_TIMEOUT)
    for model, split in CASES:
        wanted = typed(folder / model, folder / f"{rank}", world, SPLITS[split])
        with ranks.groups_of_one_run():
            backend = state_of(folder / model, wanted, world).module.backend
            own = {parameter.name: ranks.full(parameter) for parameter in backend.parameters()}
        stages: list[Any] = [None] * world
        dist.all_gather_object(stages, own)
        if rank == 0:
            torch.save({k: v for stage in stages for k, v in stage.items()}, folder / f"{model} - {split}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, and what runs under all splits have read of them."""
    made = tmp_path_factory.mktemp("published")
    for name, changes in MODELS.items():
        published(made / name, {**MODEL, **changes})
    ranks.run(_rank, WORLD, made)
    return made


@pytest.mark.parametrize(("model", "split"), CASES)
def test_every_process_has_the_numbers_of_its_part(model: str, split: str, folder: Path) -> None:
    import exchange

    wanted, found = exchange.read(folder / model), torch.load(folder / f"{model} - {split}.pt")
    assert len(list((folder / model).glob("*.safetensors"))) > 1
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


# ---- memory --------------------------------------------------------------------------------------------------------


@contextmanager
def memory() -> Iterator[list[int]]:
    """Bytes of the process's own pages (mapped files are the page cache's), before and at the highest."""
    seen, ended = [_own_pages()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.001):
            seen.append(_own_pages())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def _own_pages() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def _large_rank(rank: int, world: int, folder: Path) -> None:
    import torch.distributed as dist

    from neuron_trainer.convert import hugging_face

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=world, timeout=GLOO_TIMEOUT)
    wanted = typed(folder / "large", folder / str(rank), world, SPLITS["tensor 4"], optim={"name": "sgd", "lr": 1e-3})
    with memory() as seen:
        state = state_of(folder / "large", wanted, world)
    own = sum(one.leaf.nbytes for one in state.module.backend.parameters())
    with memory() as all_seen:
        whole = {name: load() for name, load in hugging_face.read(folder / "large").items()}
        copies = [tensor.clone() for tensor in whole.values()]
    (folder / f"{rank}.json").write_text(json.dumps(
        {"own": own, "grew": max(seen) - seen[0], "whole": max(all_seen) - all_seen[0], "count": len(copies)}
    ))  # fmt: skip
    dist.destroy_process_group()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts pages as Linux tells them")
def test_no_process_holds_the_whole_model(tmp_path: Path) -> None:
    published(tmp_path / "large", LARGE)
    size = sum(file.stat().st_size for file in (tmp_path / "large").glob("*.safetensors"))
    ranks.run(_large_rank, WORLD, tmp_path)
    for rank in range(WORLD):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found["own"] < 0.27 * size
        assert found["grew"] < found["own"] + 0.15 * size, "its part, and less than the largest tensor beside it"
        assert found["whole"] > 0.9 * size, "a process that reads all would be seen"
