"""The schedules' rates are those that NeMo, torch and `transformers` use."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR, LRScheduler, StepLR
from transformers import get_linear_schedule_with_warmup

from neuron_api.config import OptimConfig
from neuron_api.schema import support
from neuron_trainer import optim
from neuron_trainer.errors import InputError

RECORDED = json.loads((Path(__file__).parents[2] / "data" / "oracles" / "schedules.json").read_text())
EPOCH = 4


def config(name: str, lr: float = 0.1, **sched: Any) -> OptimConfig:
    return OptimConfig.model_validate({"name": "sgd", "lr": lr, "sched": {"name": name, **sched}})


def rates(wanted: OptimConfig, steps: int, max_steps: int = 7) -> list[float]:
    """The rate that is used in each step, from the optimizer."""
    optimizer = sgd(0.0)
    scheduler = optim.schedule(wanted, optimizer, optim.Extent(max_steps, lambda: EPOCH, hidden_size=64))
    return used(scheduler, optimizer, steps)


def used(scheduler: LRScheduler, optimizer: torch.optim.Optimizer, steps: int, every: int = 1) -> list[float]:
    found = []
    for step in range(steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if step % every == every - 1:
            scheduler.step()
    return found


def sgd(lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)


@pytest.mark.slow
@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: f"{recorded['schedule']} {recorded['args']}")
def test_rates_are_those_that_nemo_uses(recorded: dict[str, Any]) -> None:
    wanted = config(recorded["schedule"], recorded["lr"], **recorded["args"])
    assert rates(wanted, len(recorded["values"])) == pytest.approx(recorded["values"], rel=1e-6, abs=0)


def test_every_schedule_that_is_not_refused_has_an_oracle() -> None:
    recorded = {recorded["schedule"] for recorded in RECORDED} | {"StepLR", "ExponentialLR"}
    assert recorded == set(optim.SUPPORTED_SCHEDULES) == set(support.supported_values("model.optim.sched.name"))


@pytest.mark.parametrize(("warmup", "total"), [(0, 30), (5, 30), (30, 30), (3, 4)])
def test_the_linear_schedule_is_that_of_transformers(warmup: int, total: int) -> None:
    theirs = sgd(0.1)
    wanted = used(get_linear_schedule_with_warmup(theirs, warmup, total), theirs, 40)
    found = rates(config("LinearAnnealingWithWarmUp", warmup_steps=warmup), 40, max_steps=total)
    assert found == pytest.approx(wanted, rel=1e-12, abs=0)


TORCH: list[tuple[str, dict[str, Any], Callable[[torch.optim.Optimizer], LRScheduler]]] = [
    ("StepLR", {"step_size": 3}, lambda o: StepLR(o, 3)),
    ("StepLR", {"step_size": 2, "gamma": 0.5}, lambda o: StepLR(o, 2, 0.5)),
    ("ExponentialLR", {}, lambda o: ExponentialLR(o, 0.9)),
    ("ExponentialLR", {"gamma": 0.7}, lambda o: ExponentialLR(o, 0.7)),
]


@pytest.mark.parametrize("interval", [{}, {"interval": "epoch"}, {"interval": "step"}], ids=str)
@pytest.mark.parametrize(("name", "arguments", "make"), TORCH)
def test_schedules_by_epochs_are_torchs(
    name: str, arguments: dict[str, Any], make: Callable[[torch.optim.Optimizer], LRScheduler], interval: dict[str, str]
) -> None:
    theirs = sgd(0.1)
    wanted = used(make(theirs), theirs, 40, every=1 if interval == {"interval": "step"} else EPOCH)
    assert rates(config(name, **arguments, **interval), 40) == pytest.approx(wanted, rel=1e-12, abs=0)


B, W, T, M = 0.1, 10, 50, 0.01
FRAME = {0: B / 11, 1: B * 2 / 11, W - 1: B * 10 / 11, W: B, T + 1: M}
"""Of every NeMo policy: warm-up to w, the floor after T."""
WAVE = (B - M) * 0.5
CORNERS: dict[str, tuple[dict[str, Any], dict[int, float]]] = {
    "LinearAnnealingWithWarmUp": (
        {}, {0: 0, 1: B / 10, W - 1: B * 9 / 10, W: B, W + 1: B * 39 / 40, T - 1: B / 40, T: 0, T + 1: 0}),
    "CosineAnnealing": ({}, {**FRAME, W + 1: M + WAVE * (1 + math.cos(math.pi / 40)),
                             T - 1: M + WAVE * (1 + math.cos(math.pi * 39 / 40)), T: M}),
    "CosineAnnealing, constant": (
        {"constant_steps": 20}, {0: 0, 1: B / 10, W - 1: B * 9 / 10, W: B, T - 20: M, T - 1: M, T: M, T + 1: M,
                                 W + 1: M + WAVE * (1 + math.cos(math.pi / 20))}),
    "WarmupPolicy": ({}, {**FRAME, W + 1: B, T - 1: B, T: B}),
    "WarmupHoldPolicy": ({"hold_steps": 5}, {**FRAME, W + 1: B, W + 6: B, T - 1: B, T: B}),
    "SquareAnnealing": ({}, {**FRAME, W + 1: B * (39 / 40) ** 2, T - 10: M, T - 1: M, T: M}),
    "WarmupAnnealing": ({}, {**FRAME, W + 1: M + (B - M) * 39 / 40, T - 1: M + (B - M) / 40, T: M}),
    "SquareRootAnnealing": ({}, {**FRAME, W + 1: B * (39 / 50) ** 0.5, T - 1: B * 0.02**0.5, T: M}),
    "InverseSquareRootAnnealing": ({}, {**FRAME, W + 1: B * (11 / 12) ** 0.5, T - 1: B * (11 / 50) ** 0.5,
                                        T: B * (11 / 51) ** 0.5}),
    "PolynomialDecayAnnealing": ({"power": 3.0}, {**FRAME, W + 1: M + (B - M) * (39 / 40) ** 3,
                                                  T - 1: M + (B - M) / 40**3, T: M}),
    "NoamAnnealing": ({"d_model": 4, "min_lr": 0.008}, {
        0: B / 2 * W**-1.5, 1: B / 2 * W**-1.5, W - 1: B / 2 * 9 * W**-1.5, W: B / 2 * W**-0.5,
        W + 1: B / 2 * 11**-0.5, T - 1: 0.008, T: 0.008, T + 1: 0.008}),
    "StepLR": ({"step_size": 10, "interval": "step"}, {0: B, 1: B, W - 1: B, W: B / 10, W + 1: B / 10, T - 1: B / 1e4,
                                                       T: B / 1e5, T + 1: B / 1e5}),
    "ExponentialLR": ({"gamma": 0.5, "interval": "step"}, {s: B * 0.5**s for s in (0, 1, 9, 10, 11, 49, 50, 51)}),
}  # fmt: skip


@pytest.mark.parametrize("case", CORNERS)
def test_corners(case: str) -> None:
    """The formulas of B-9 at the steps where something changes."""
    changes, wanted = CORNERS[case]
    sched = {"warmup_steps": W, "max_steps": T, "min_lr": M, **changes}
    rate = optim.rates(config(case.partition(",")[0], B, **sched), optim.Extent(7, lambda: EPOCH, hidden_size=64))
    assert {0, 1, W - 1, W, W + 1, T - 1, T, T + 1} <= set(wanted)
    assert {step: rate(step) for step in wanted} == pytest.approx(wanted, rel=1e-9, abs=1e-15)


def test_more_constant_steps_than_steps_end_at_the_floor_right_after_the_warm_up() -> None:
    """The document's GPT configuration: 80000 constant steps of 20000."""
    sched = {"warmup_steps": 500, "constant_steps": 80000, "min_lr": 2e-5}
    rate = optim.rates(config("CosineAnnealing", 2e-4, **sched), optim.Extent(20000, lambda: EPOCH, 64))
    assert [rate(step) for step in (0, 250, 500, 501, 19999, 20001)] == [0, 1e-4, 2e-4, 2e-5, 2e-5, 2e-5]


@pytest.mark.parametrize("warmup", [0, 1, 5, 6, 9])
@pytest.mark.parametrize("constant", [0, 1, 4, 5, 9])
@pytest.mark.parametrize("name", optim.SUPPORTED_SCHEDULES)
def test_no_length_divides_by_zero(name: str, warmup: int, constant: int) -> None:
    wanted = config(name, warmup_steps=warmup, max_steps=5, constant_steps=constant, step_size=2)
    assert all(0 <= rate < 0.1 + 1e-9 for rate in rates(wanted, 12))


@pytest.mark.parametrize(
    ("share", "steps"),
    [({"warmup_ratio": 0.25}, {"warmup_steps": 12}), ({"constant_ratio": 0.25}, {"constant_steps": 12}),
     ({"hold_ratio": 0.25}, {"hold_steps": 12})],
)  # fmt: skip
@pytest.mark.parametrize("name", ["CosineAnnealing", "WarmupHoldPolicy"])
def test_shares_are_of_max_steps_and_rounded_down(name: str, share: dict[str, Any], steps: dict[str, Any]) -> None:
    assert rates(config(name, max_steps=50, **share), 60) == rates(config(name, max_steps=50, **steps), 60)


def test_a_schedule_has_the_length_of_the_run_unless_it_has_its_own() -> None:
    of_run = rates(config("WarmupAnnealing", min_lr=0.01), 30, max_steps=20)
    assert of_run == rates(config("WarmupAnnealing", min_lr=0.01, max_steps=20), 30, max_steps=99)
    assert of_run[20:] == [0.01] * 10


def test_noam_has_the_width_of_the_model_unless_it_has_its_own() -> None:
    own, of_model = ({"warmup_steps": 5, **width} for width in ({"d_model": 64}, {}))
    assert rates(config("NoamAnnealing", **own), 9) == rates(config("NoamAnnealing", **of_model), 9)


def test_square_annealing_alone_has_a_floor_of_its_own() -> None:
    ends = {name: rates(config(name, max_steps=5), 8)[-1] for name in optim.SUPPORTED_SCHEDULES if "Square" in name}
    assert ends == {"SquareAnnealing": pytest.approx(1e-5), "SquareRootAnnealing": 0, "InverseSquareRootAnnealing": 0}


@pytest.mark.parametrize("name", ["CosineAnnealing", "ExponentialLR"])
def test_last_epoch_continues_a_schedule(name: str) -> None:
    counted = 1 if name == "CosineAnnealing" else EPOCH
    whole = rates(config(name, warmup_steps=3, max_steps=20), 20 * counted)
    assert rates(config(name, warmup_steps=3, max_steps=20, last_epoch=5), 9) == whole[6 * counted : 6 * counted + 9]


def test_the_state_of_a_schedule_is_a_number_of_steps() -> None:
    wanted, extent = config("CosineAnnealing", warmup_steps=3, max_steps=20), optim.Extent(7, lambda: EPOCH, 64)
    first = optim.schedule(wanted, optimizer := sgd(0.1), extent)
    used(first, optimizer, 8)
    second = optim.schedule(wanted, optimizer := sgd(0.1), extent)
    second.load_state_dict(first.state_dict())
    optimizer.step()
    second.step()
    assert optimizer.param_groups[0]["lr"] == rates(wanted, 10)[9]


def test_a_staircase_without_its_step_is_told() -> None:
    with pytest.raises(InputError, match=r"model\.optim\.sched\.step_size"):
        optim.rates(config("StepLR"), optim.Extent(7, lambda: EPOCH, 64))
