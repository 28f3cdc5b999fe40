"""Whole runs of the families that are not Llama: experts and dropout train, resume exactly, survive validation."""

import json
from pathlib import Path
from typing import Any

import pytest

from distributed.tiny import MODEL
from neuron_api import contract
from neuron_trainer.ipc.worker_channel import Start

from .conftest import alone, train

pytestmark = [pytest.mark.usefixtures("one_process"), pytest.mark.slow]

MIXTRAL = {
    **MODEL, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 9,
    "attention_dropout": 0.1,
}  # fmt: skip
MOE = {"num_experts": 4, "top_k": 2, "capacity_factor": 1.5, "dropout": 0.2, "moe_dropout": 0.1}


def mixtral(tiny: Path, folder: Path, moe: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A Mixtral with dropout, on the tiny data."""
    folder.mkdir(exist_ok=True)
    (folder / "mixtral.json").write_text(json.dumps(MIXTRAL))
    return alone(tiny, folder, model__model_config=str(folder / "mixtral.json"), model__moe=moe, **changes)


def losses(folder: Path) -> list[float]:
    lines = (folder / contract.METRICS_FILE).read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.fixture(scope="module")
def unbroken(tiny: Path, one_process: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 steps with a checkpoint after the third."""
    every = {"exp_manager__checkpoint_callback_params__every_n_train_steps": 3}
    return train(mixtral(tiny, tmp_path_factory.mktemp("unbroken"), MOE, trainer__max_steps=6, **every))


def test_a_start_from_a_checkpoint_continues_bit_for_bit_with_dropout(
    unbroken: Path, tiny: Path, tmp_path: Path
) -> None:
    (third,) = (unbroken / contract.CHECKPOINTS_DIR).glob("*step=3-*")
    start = Start(1, str(third), last_step=3)
    assert losses(train(mixtral(tiny, tmp_path, MOE, trainer__max_steps=6), start)) == losses(unbroken)[3:]


def test_validation_does_not_change_training_with_dropout(unbroken: Path, tiny: Path, tmp_path: Path) -> None:
    values = mixtral(tiny, tmp_path, MOE, trainer__max_steps=6, trainer__limit_val_batches=1)
    values["trainer"] |= {"val_check_interval": 2, "check_val_every_n_epoch": None}
    values["data"]["val_dir"] = values["data"]["train_dir"]
    assert losses(train(values)) == losses(unbroken)


def test_the_auxiliary_loss_is_in_the_loss_and_trains_the_router(tiny: Path, tmp_path: Path) -> None:
    steps = {"trainer__max_steps": 1, "exp_manager__create_checkpoint_callback": False}
    found = {
        coefficient: losses(
            train(mixtral(tiny, tmp_path / str(coefficient), {**MOE, "router_aux_loss_coef": coefficient}, **steps))
        )
        for coefficient in (0.0, 0.5)
    }
    assert 0.5 <= found[0.5][0] - found[0.0][0] < 1.0, "an even load gives 1, and this one is nearly so"


@pytest.mark.parametrize("granularity", [None, "full", "selective"])
def test_experts_train_in_bf16_with_fp32_masters(granularity: str | None, tiny: Path, tmp_path: Path) -> None:
    values = mixtral(
        tiny, tmp_path, {**MOE, "dropout": 0.0, "moe_dropout": 0.0}, trainer__max_steps=8,
        exp_manager__create_checkpoint_callback=False, precision__type="mixed_precision",
    )  # fmt: skip
    values["model"] |= {"activations_checkpoint_granularity": granularity}
    if granularity == "selective":
        values["model"]["activations_checkpoint_recompute"] = ["MoE", "MixtralAttention"]
    found = losses(train(values))
    assert found[-1] < found[0] - 0.1
