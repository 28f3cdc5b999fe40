"""Expert parallel through the whole loop: optimizers, checkpoints that do not know of it, one weight in a pipeline."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import exchange
from neuron_trainer.models.mixtral import MixtralForCausalLM
from neuron_trainer.models.mixtral import config as mixtral_config

from . import ranks, saved
from .nodes import numbers
from .tiny import MODEL, VOCABULARY, config

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.usefixtures("backend"),
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning"),
]

STEPS = 6
MIXTRAL = {
    **MODEL, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2, "tie_word_embeddings": True,
}  # fmt: skip
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"name": "adamw", "eps": 1e-5, "lr": 3e-3},
    "novograd": {"name": "novograd", "lr": 0.05},
    "adafactor": {"name": "adafactor", "lr": 0.03},
}
SPLITS: dict[str, dict[str, Any]] = {
    "expert 2, tensor 2, zero1": {"expert_model_parallel_size": 2, "tensor_model_parallel_size": 2, "zero1": True,
                                  "sequence_parallel": True},
    "expert 2, data 4": {"expert_model_parallel_size": 2, "zero1": False},
    "pipeline 2, expert 2": {"expert_model_parallel_size": 2, "pipeline_model_parallel_size": 2, "zero1": True},
}  # fmt: skip
"""Of 4 processes. The loader deals rows to data-parallel processes in turn, so micro-batches are not those of one
process: nothing here depends on what else is in one (no capacity, no load-balancing loss)."""
ONE: dict[str, Any] = {"zero1": False}
CASES = [("expert 2, tensor 2, zero1", name) for name in OPTIMIZERS] + [
    ("expert 2, data 4", "novograd"), ("pipeline 2, expert 2", "novograd"), ("pipeline 2, expert 2", "adamw"),
]  # fmt: skip
RESUMED = [("expert 2, tensor 2, zero1", "adamw"), ("pipeline 2, expert 2", "novograd")]
"""Gone on with on one process after half of the steps."""


@pytest.fixture(scope="module")
def logs(backend: str, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Log directories by split and optimizer."""
    base = tmp_path_factory.mktemp("experts")
    (base / "mixtral.json").write_text(json.dumps(MIXTRAL))
    runs = [*(("one process", name) for name in OPTIMIZERS), *CASES]
    folders = {run: base / f"{number}" for number, run in enumerate(runs)}
    ranks.train(4, [_config(tiny, folders[run], run[1], 4, SPLITS[run[0]]) for run in CASES])
    ranks.train(1, [_config(tiny, folders["one process", name], name, 1, ONE) for name in OPTIMIZERS])
    halves = [saved.checkpoint(folders[run], STEPS // 2) for run in RESUMED]
    again = {(f"{split}, resumed", name): base / f"again-{name}" for split, name in RESUMED}
    ranks.train(1, [_config(tiny, folder, run[1], 1, ONE) for run, folder in again.items()], halves)
    return folders | again


def _config(tiny: Path, folder: Path, optimizer: str, world: int, split: dict[str, Any]) -> dict[str, Any]:
    values = config(
        tiny,
        folder,
        trainer__devices=world,
        trainer__num_nodes=1,
        trainer__max_steps=STEPS,
        trainer__gradient_clip_val=0.5,
        exp_manager__checkpoint_callback_params={
            "every_n_train_steps": STEPS // 2, "save_top_k": 2, "filename": "{step}",
        },
        distributed_strategy={"tensor_model_parallel_size": 1, "sequence_parallel": False, **split},
        data__micro_batch_size=1,
        model__model_config=str(folder.parent / "mixtral.json"),
        model__moe={"num_experts": 4, "top_k": 2, "capacity_factor": None, "output_router_logits": False},
    )  # fmt: skip
    values["model"]["optim"] = {**OPTIMIZERS[optimizer], "sched": {"warmup_steps": 2, "max_steps": 20}}
    return values


@pytest.mark.parametrize(("split", "name"), CASES)
def test_numbers_weights_and_states_are_those_of_one_process(
    split: str, name: str, logs: dict[tuple[str, str], Path]
) -> None:
    wanted, found = numbers(logs["one process", name]), numbers(logs[split, name])
    assert list(found) == list(wanted) == list(range(1, STEPS + 1))
    for step, values in wanted.items():
        assert found[step] == pytest.approx(values, rel=1e-5), f"step {step}"
    saved.assert_equal(saved.checkpoint(logs[split, name], STEPS), saved.checkpoint(logs["one process", name], STEPS))


@pytest.mark.parametrize(("split", "name"), RESUMED)
def test_a_checkpoint_goes_on_without_experts_apart(split: str, name: str, logs: dict[tuple[str, str], Path]) -> None:
    resumed = logs[f"{split}, resumed", name]
    assert list(numbers(resumed)) == list(range(STEPS // 2 + 1, STEPS + 1))
    saved.assert_equal(saved.checkpoint(resumed, STEPS), saved.checkpoint(logs["one process", name], STEPS))


def test_a_checkpoint_has_every_weight_once_whatever_the_split(logs: dict[tuple[str, str], Path]) -> None:
    wanted = saved.tensors(saved.checkpoint(logs["one process", "adamw"], STEPS))
    found = saved.tensors(saved.checkpoint(logs["pipeline 2, expert 2", "adamw"], STEPS))
    assert {name: one.shape for name, one in found.items()} == {name: one.shape for name, one in wanted.items()}
    assert "model.lm_head.weight" not in found, "it is the embedding's"
    assert found["model.model.layers.0.mlp.experts.up_proj"].shape == torch.Size([4, 64, 32])


def test_weights_of_split_experts_are_a_model_of_transformers(
    logs: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    found = saved.tensors(saved.checkpoint(logs["expert 2, tensor 2, zero1", "adamw"], STEPS))
    state = {name.removeprefix("model."): one for name, one in found.items() if name.startswith("model.")}
    config = mixtral_config.from_values(MIXTRAL)
    (tmp_path / "config.json").write_text(json.dumps(MIXTRAL))
    exchange.write(tmp_path, state, tmp_path / "config.json")
    theirs = transformers.MixtralForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ours = MixtralForCausalLM(config)
    ours.load_state_dict(state, strict=False)  # the head is the embedding
    ids = torch.arange(32)[None] * 5 % VOCABULARY
    logits = ours(ids)
    assert isinstance(logits, torch.Tensor)
    torch.testing.assert_close(theirs(ids).logits, logits, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def masked(backend: str, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """Losses of a pipeline with dropout: unbroken, with evaluations between, resumed after half of the steps."""
    base = tmp_path_factory.mktemp("masked")
    (base / "mixtral.json").write_text(json.dumps(MIXTRAL))
    runs = {name: _config(tiny, base / name, "adamw", 2, PIPELINE) for name in ("unbroken", "evaluated", "resumed")}
    for values in runs.values():
        values["model"]["moe"]["dropout"] = 0.2
    runs["evaluated"]["trainer"] |= {"val_check_interval": 2, "check_val_every_n_epoch": None, "limit_val_batches": 1}
    runs["evaluated"]["data"]["val_dir"] = runs["evaluated"]["data"]["train_dir"]
    ranks.train(2, [runs["unbroken"], runs["evaluated"]])
    ranks.train(2, [runs["resumed"]], [saved.checkpoint(base / "unbroken", STEPS // 2)])
    return {name: [loss for loss, *_ in numbers(base / name).values()] for name in runs}


PIPELINE: dict[str, Any] = {"pipeline_model_parallel_size": 2, "zero1": False}


def test_a_pipeline_goes_on_with_the_masks_of_an_unbroken_run(masked: dict[str, list[float]]) -> None:
    assert masked["resumed"] == masked["unbroken"][STEPS // 2 :]


def test_evaluation_does_not_change_the_masks_of_a_pipeline(masked: dict[str, list[float]]) -> None:
    assert masked["evaluated"] == masked["unbroken"]


@pytest.mark.parametrize("precision", ["mixed_precision", "mixed_precisionSR"])
def test_split_experts_train_in_bf16_with_fp32_masters(precision: str, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "mixtral.json").write_text(json.dumps(MIXTRAL))
    one = _config(tiny, tmp_path / "one", "adamw", 1, ONE)
    two = _config(tiny, tmp_path / "two", "adamw", 2, {"expert_model_parallel_size": 2, "zero1": True})
    for values in (one, two):
        values["precision"] = {"type": precision}
        values["bucket_size_collectives"] = 1  # several modules are one unit
    ranks.train(2, [two])
    ranks.train(1, [one])
    wanted, found = ([loss for loss, *_ in numbers(tmp_path / name).values()] for name in ("one", "two"))
    assert len(found) == STEPS
    assert found == pytest.approx(wanted, rel=5e-3), "as near as 8 bits are"
    assert found[-1] < found[0] - 0.05
    masters = saved.tensors(saved.checkpoint(tmp_path / "two", STEPS))
    assert all(one.dtype == torch.float32 for one in masters.values())
