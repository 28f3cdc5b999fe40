"""A run that goes on from a checkpoint equals the unbroken one bit for bit: every optimizer, each kind of schedule."""

import json
from pathlib import Path
from typing import Any

import pytest

from neuron_api import contract
from neuron_api.config.optimizers import OPTIMIZERS as SPECS
from neuron_trainer.ipc.worker_channel import Start

from .conftest import alone, train

pytestmark = [pytest.mark.usefixtures("one_process"), pytest.mark.slow]

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"amsgrad": True, "weight_decay": 0.1},
    "adamw_fp32OptState": {"weight_decay": 0.1},
    "adam": {"weight_decay": 0.1},
    "sgd": {"lr": 0.5, "momentum": 0.9, "dampening": 0.2},
    "adadelta": {"lr": 3.0},
    "adamax": {},
    "adagrad": {"initial_accumulator_value": 0.01, "lr_decay": 0.1},
    "rmsprop": {"momentum": 0.5, "centered": True},
    "rprop": {},
    "novograd": {"lr": 0.05, "amsgrad": True, "luc": True, "luc_trust": 0.01},
    "adafactor": {"lr": None, "relative_step": True, "warmup_init": True, "beta1": 0.9},
}
"""With all the state that there can be."""
SCHEDULES: dict[str, dict[str, Any]] = {
    "CosineAnnealing": {"warmup_steps": 2, "constant_steps": 3},
    "NoamAnnealing": {"warmup_steps": 2},
    "StepLR": {"step_size": 1},
}
STEPS, EPOCH = 9, 8
"""64 rows in batches of 8: the last step is of the second epoch."""


def config(tiny: Path, folder: Path, optim: dict[str, Any]) -> dict[str, Any]:
    changes = {"every_n_train_steps": 4, "save_top_k": -1, "filename": "{step}"}
    values = alone(
        tiny, folder, trainer__max_steps=STEPS, exp_manager__checkpoint_callback_params=changes,
        exp_manager__log_parameter_norm=True,
    )  # fmt: skip
    values["model"]["optim"] = {"lr": 3e-3, **optim}
    return values


def numbers(folder: Path) -> list[tuple[float, ...]]:
    lines = [json.loads(line) for line in (folder / contract.METRICS_FILE).read_text().splitlines()]
    return [(m["step"], m["loss"], m["lr"], m["gradient_norm"], m["parameter_norm"]) for m in lines]


def unbroken_and_resumed(tiny: Path, folder: Path, optim: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """The numbers after step 4."""
    whole = train(config(tiny, folder / "whole", optim))
    start = Start(1, str(whole / contract.CHECKPOINTS_DIR / "step=4.ckpt"), last_step=4)
    return numbers(whole)[4:], numbers(train(config(tiny, folder / "resumed", optim), start))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str, tiny: Path, tmp_path: Path) -> None:
    unbroken, resumed = unbroken_and_resumed(tiny, tmp_path, {"name": name, **OPTIMIZERS[name]})
    assert len(unbroken) == STEPS - 4
    assert resumed == unbroken


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str, tiny: Path, tmp_path: Path) -> None:
    optim = {"name": "adamw", "sched": {"name": name, **SCHEDULES[name]}}
    unbroken, resumed = unbroken_and_resumed(tiny, tmp_path, optim)
    assert resumed == unbroken


def test_epochs_are_counted_by_the_runs_own_steps(tiny: Path, tmp_path: Path) -> None:
    optim = {"name": "adamw", "sched": {"name": "StepLR", **SCHEDULES["StepLR"]}}
    rates = [lr for _, _, lr, *_ in numbers(train(config(tiny, tmp_path, optim)))]
    assert rates == [3e-3] * EPOCH + [pytest.approx(3e-4)] * (STEPS - EPOCH)


def test_every_optimizer_is_interrupted() -> None:
    assert set(OPTIMIZERS) == set(SPECS)
