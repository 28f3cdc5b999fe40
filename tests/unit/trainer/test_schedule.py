"""The schedule's rates are those that NeMo and `transformers` use."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import get_linear_schedule_with_warmup

from neuron_api.config import TrainingConfig
from neuron_trainer import optim

from .conftest import alone, typed

RECORDED = json.loads((Path(__file__).parents[2] / "data" / "oracles" / "schedules.json").read_text())


def _config(tiny: Path, folder: Path, warmup: int, total: int | None) -> TrainingConfig:
    values = alone(tiny, folder, trainer__max_steps=-1)
    values["model"]["optim"]["sched"] = {"name": "LinearAnnealingWithWarmUp", "warmup_steps": warmup}
    if total is not None:
        values["model"]["optim"]["sched"]["max_steps"] = total
    return typed(values)


def rates(scheduler: torch.optim.lr_scheduler.LambdaLR, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    """The rate that is used in each step."""
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def _sgd(lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: str(recorded["args"]))
def test_rates_are_those_that_nemo_uses(recorded: dict[str, Any], tiny: Path, tmp_path: Path) -> None:
    args, optimizer = recorded["args"], _sgd(recorded["lr"])
    config = _config(tiny, tmp_path, args["warmup_steps"], args["max_steps"])
    found = rates(optim.schedule(config, optimizer, max_steps=7), optimizer, len(recorded["values"]))
    assert found == pytest.approx(recorded["values"], rel=1e-6, abs=0)


@pytest.mark.parametrize(("warmup", "total"), [(0, 30), (5, 30), (30, 30), (3, 4)])
def test_rates_are_those_of_transformers(warmup: int, total: int, tiny: Path, tmp_path: Path) -> None:
    ours, theirs = _sgd(0.1), _sgd(0.1)
    found = rates(optim.schedule(_config(tiny, tmp_path, warmup, None), ours, max_steps=total), ours, 40)
    wanted = rates(get_linear_schedule_with_warmup(theirs, warmup, total), theirs, 40)
    assert found == pytest.approx(wanted, rel=1e-12, abs=0)
