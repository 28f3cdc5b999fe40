"""`model.token_weighted_loss`: one loss and one gradient for all splits of a global batch, those of dense computing.

The kind: rows with very different numbers of labels, whose loss depends on micro_batch_size and on the number of
processes as long as micro-batches weigh equally (B-4, which stays the default). Looked at: micro-batches of 1, 2, 4 and
8, data parallel with and without zero1, tensor, context and pipeline parallel, rows without any label, validation.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers

from neuron_api.loading.loader import load_object
from neuron_trainer.models.family import Family

from . import ranks
from .nodes import numbers
from .tiny import MODEL, SEQUENCE, VOCABULARY, config

pytestmark = [pytest.mark.distributed, pytest.mark.usefixtures("backend")]
STEPS = 4
SPLITS: dict[str, tuple[int, dict[str, Any]]] = {
    "micro 1": (1, {"data__micro_batch_size": 1}),
    "micro 2": (1, {}),
    "micro 4": (1, {"data__micro_batch_size": 4}),
    "micro 8": (1, {"data__micro_batch_size": 8}),
    "data 2": (2, {"data__micro_batch_size": 1}),
    "data 2, zero1": (2, {"distributed_strategy__zero1": True, "data__micro_batch_size": 4}),
    "tensor 2": (2, {"distributed_strategy__tensor_model_parallel_size": 2}),
    "context 2": (2, {"distributed_strategy__context_parallel_size": 2, "model__fusions": {"ring_attention": True}}),
    "pipeline 2": (2, {"distributed_strategy__pipeline_model_parallel_size": 2, "data__micro_batch_size": 1}),
}


@pytest.fixture(scope="module")
def rows(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 rows with 1 to 31 labels, every ninth without any."""
    from datasets import Dataset

    random = np.random.default_rng(5)
    ids = random.integers(0, VOCABULARY, (32, SEQUENCE))
    labels = ids.copy()
    for number, row in enumerate(labels):
        row[: SEQUENCE if number % 9 == 4 else random.integers(1, SEQUENCE)] = -100
    folder = tmp_path_factory.mktemp("unequal") / "data"
    Dataset.from_dict({"input_ids": ids, "labels": labels}).save_to_disk(str(folder))
    return folder


def job(tiny: Path, rows: Path, folder: Path, world: int, **changes: Any) -> dict[str, Any]:
    one: dict[str, Any] = {
        "trainer__devices": world, "trainer__num_nodes": 1, "trainer__max_steps": STEPS,
        "trainer__val_check_interval": 4, "trainer__limit_val_batches": 2, "data__train_dir": str(rows),
        "data__val_dir": str(rows),
        "distributed_strategy__tensor_model_parallel_size": 1, "distributed_strategy__sequence_parallel": False,
        "distributed_strategy__zero1": False, "exp_manager__create_checkpoint_callback": False,
        "model__token_weighted_loss": True,
    }  # fmt: skip
    return config(tiny, folder, **{**one, **changes})


@pytest.fixture(scope="module")
def logs(backend: str, tiny: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("weighted")
    folders = {name: base / name.replace(" ", "-").replace(",", "") for name in SPLITS}
    for world in (1, 2):
        own = {name: changes for name, (size, changes) in SPLITS.items() if size == world}
        ranks.train(world, [job(tiny, rows, folders[name], world, **changes) for name, changes in own.items()])
    return folders


@pytest.mark.parametrize("split", SPLITS)
def test_losses_and_gradients_are_the_same_for_every_split(split: str, logs: dict[str, Path]) -> None:
    wanted, found = numbers(logs["micro 8"]), numbers(logs[split])
    assert list(found) == list(range(1, STEPS + 1))
    for step, values in wanted.items():
        assert found[step] == pytest.approx(values, rel=1e-5), f"step {step}"


@pytest.mark.parametrize("split", SPLITS)
def test_the_validation_loss_is_the_same_for_every_split(split: str, logs: dict[str, Path]) -> None:
    first, own = (
        json.loads((logs[name] / "validations.jsonl").read_text().splitlines()[0]) for name in ("micro 8", split)
    )
    assert own["val_loss"] == pytest.approx(first["val_loss"], rel=1e-5)


def test_it_is_the_mean_over_all_labels_of_the_global_batch(tiny: Path, rows: Path, logs: dict[str, Path]) -> None:
    """Against transformers' model and PyTorch's cross-entropy, with gradients."""
    from datasets import load_from_disk

    values = load_object(job(tiny, rows, rows.parent / "log", 1)).config
    assert values is not None
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**MODEL)).float()
    family = Family.from_config(values)
    model.load_state_dict({name: family.init_parameter(name, p.shape) for name, p in model.named_parameters()})
    batch: Any = load_from_disk(str(rows)).with_format("torch")[:8]
    logits = model(input_ids=batch["input_ids"]).logits
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=-100)
    loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    found = numbers(logs["data 2"])[1]
    assert found[0] == pytest.approx(loss.item(), rel=1e-5)
    assert found[2] == pytest.approx(norm.item(), rel=1e-4)


def test_without_it_the_loss_depends_on_the_split(tiny: Path, rows: Path, tmp_path: Path) -> None:
    """As upstream: a mean of means. So the rows do tell the two apart."""
    for size in (1, 8):
        plain = job(tiny, rows, tmp_path / f"{size}", 1, data__micro_batch_size=size, model__token_weighted_loss=False)
        ranks.train(1, [plain])
    first, second = (numbers(tmp_path / f"{size}")[1][0] for size in (1, 8))
    assert abs(first - second) > 1e-3
