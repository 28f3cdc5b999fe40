"""`log_parameter_norm`: the L2 norm of the whole model, however its weights are spread; each weight once."""

from pathlib import Path
from typing import Any

import pytest
import torch

from neuron_trainer.convert import native

from . import ranks
from .nodes import metrics
from .tiny import config

pytestmark = [pytest.mark.distributed, pytest.mark.usefixtures("backend")]

SPLITS: dict[str, tuple[int, dict[str, Any]]] = {
    "one process": (1, {}),
    "tensor 2, sequence": (2, {"tensor_model_parallel_size": 2, "sequence_parallel": True}),
    "pipeline 2": (2, {"pipeline_model_parallel_size": 2}),
    "context 2": (2, {"context_parallel_size": 2}),
    "data 2, zero1": (2, {"zero1": True}),
    "tensor 4, key/value heads shared": (4, {"tensor_model_parallel_size": 4}),
    "tensor 2, context 2, zero1": (4, {"tensor_model_parallel_size": 2, "context_parallel_size": 2, "zero1": True}),
}


@pytest.fixture(scope="module")
def logs(backend: str, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Log directories of three steps each, with a checkpoint of the last."""
    base = tmp_path_factory.mktemp("norms")
    folders = {name: base / f"{number}" for number, name in enumerate(SPLITS)}
    for world in (1, 2, 4):
        ranks.train(world, [_config(tiny, folders[n], *split) for n, split in SPLITS.items() if split[0] == world])
    return folders


def _config(tiny: Path, folder: Path, world: int, strategy: dict[str, Any]) -> dict[str, Any]:
    values = config(
        tiny, folder, trainer__devices=world, trainer__num_nodes=1, trainer__max_steps=3,
        exp_manager__log_parameter_norm=True, exp_manager__log_gradient_norm=True,
        model__fusions={"ring_attention": "context_parallel_size" in strategy},
    )  # fmt: skip
    values["distributed_strategy"] = {"tensor_model_parallel_size": 1, "zero1": False, **strategy}
    return values


@pytest.mark.parametrize("split", SPLITS)
def test_the_norm_is_that_of_the_gathered_model(split: str, logs: dict[str, Path]) -> None:
    [checkpoint] = (logs[split] / "checkpoints").glob("*step=3-*")
    gathered = torch.cat([load().flatten().double() for load in native.read(checkpoint).values()])
    last = metrics(logs[split])[-1]
    assert last["step"] == 3
    assert last["parameter_norm"] == pytest.approx(torch.linalg.vector_norm(gathered).item(), rel=1e-6)
    assert last["gradient_norm"] == pytest.approx(metrics(logs["one process"])[-1]["gradient_norm"], rel=1e-5)
