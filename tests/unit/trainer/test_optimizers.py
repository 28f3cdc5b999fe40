"""Optimizers do what the ones they are named after do."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neuron_trainer import optim
from neuron_trainer.optim.adamw_fp32 import AdamWFP32OptState
from neuron_trainer.parallel import LocalParameter

from .conftest import alone, typed

RECORDED = json.loads((Path(__file__).parents[2] / "data" / "oracles" / "optimizers.json").read_text())


@dataclass(slots=True)
class Whole(LocalParameter):
    """A parameter that is not split."""

    def wrap(self, local: Tensor) -> Tensor:
        return local


def whole(name: str, values: Tensor) -> LocalParameter:
    leaf = nn.Parameter(values.clone())
    return Whole(name, leaf, leaf, replicas=1)


def run(
    optimizer: torch.optim.Optimizer, leaves: list[nn.Parameter], gradients: list[list[Tensor]]
) -> list[list[Tensor]]:
    """Parameters after each step."""
    found = []
    for given in gradients:
        for leaf, gradient in zip(leaves, given, strict=True):
            leaf.grad = gradient.clone()
        optimizer.step()
        found.append([leaf.detach().clone() for leaf in leaves])
    return found


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: str(recorded["args"]))
def test_adamw_fp32_is_that_of_neuronx_distributed(recorded: dict[str, Any]) -> None:
    leaves = [nn.Parameter(torch.tensor(values)) for values in recorded["initial"]]
    gradients = [[torch.tensor(gradient) for gradient in step] for step in recorded["gradients"]]
    found = run(AdamWFP32OptState(leaves, **recorded["args"]), leaves, gradients)
    assert len(found) == len(recorded["parameters"]) == 8
    for values, wanted in zip(found, recorded["parameters"], strict=True):
        for value, want in zip(values, wanted, strict=True):
            torch.testing.assert_close(value, torch.tensor(want), rtol=1e-6, atol=1e-8)


def _random(steps: int = 6) -> tuple[list[Tensor], list[list[Tensor]]]:
    torch.manual_seed(2)
    initial = [torch.randn(5, 3), torch.randn(7)]
    return initial, [[torch.randn_like(values) for values in initial] for _ in range(steps)]


def test_adamw_fp32_without_eps_and_decay_is_torch_adamw() -> None:
    initial, gradients = _random()
    ours, theirs = ([nn.Parameter(values.clone()) for values in initial] for _ in range(2))
    found = run(AdamWFP32OptState(ours, lr=0.01, eps=0.0), ours, gradients)
    wanted = run(torch.optim.AdamW(theirs, lr=0.01, eps=0.0, weight_decay=0.0), theirs, gradients)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7)


def test_adamw_fp32_keeps_moments_of_16_bit_parameters_in_fp32() -> None:
    leaf = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    optimizer = AdamWFP32OptState([leaf], lr=0.01)
    run(optimizer, [leaf], [[torch.full((4,), 1e-3, dtype=torch.bfloat16)]])
    assert {state.dtype for state in optimizer.state[leaf].values()} == {torch.float32}


def test_adamw_is_torch_adamw_with_decay_on_matrices_alone(tiny: Path, tmp_path: Path) -> None:
    values = alone(tiny, tmp_path)
    values["model"]["optim"] |= {"name": "adamw", "lr": 0.02, "weight_decay": 0.3, "betas": [0.8, 0.9]}
    model = typed(values).model
    initial, gradients = _random()
    parameters = [whole(f"p{number}", tensor) for number, tensor in enumerate(initial)]
    found = run(optim.build(model, parameters), [parameter.leaf for parameter in parameters], gradients)

    matrix, vector = (nn.Parameter(tensor.clone()) for tensor in initial)
    groups = [{"params": [matrix], "weight_decay": 0.3}, {"params": [vector], "weight_decay": 0.0}]
    theirs = torch.optim.AdamW(groups, lr=0.02, betas=(0.8, 0.9))
    wanted = run(theirs, [matrix, vector], gradients)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("everything", [False, True])
def test_norms_and_biases_are_decayed_only_when_asked(everything: bool, tiny: Path, tmp_path: Path) -> None:
    values = alone(tiny, tmp_path, model__do_layer_norm_weight_decay=everything)
    values["model"]["optim"] |= {"weight_decay": 0.3}
    parameters = [whole("matrix", torch.ones(2, 2)), whole("vector", torch.ones(2))]
    groups = optim.build(typed(values).model, parameters).param_groups
    decayed = [leaf for group in groups if group["weight_decay"] for leaf in group["params"]]
    assert [leaf.ndim for leaf in decayed] == ([2, 1] if everything else [2])


@pytest.mark.parametrize("name", optim.SUPPORTED_OPTIMIZERS)
def test_state_is_there_before_the_first_step_and_makes_no_difference(name: str, tiny: Path, tmp_path: Path) -> None:
    values = alone(tiny, tmp_path)
    values["model"]["optim"]["name"] = name
    initial, gradients = _random()
    results = []
    for is_fresh in (True, False):
        parameters = [whole(f"p{number}", tensor) for number, tensor in enumerate(initial)]
        optimizer = optim.build(typed(values).model, parameters)
        assert all(set(optimizer.state[p.leaf]) >= {"exp_avg", "exp_avg_sq", "step"} for p in parameters)
        if not is_fresh:
            optimizer.state.clear()  # as the optimizer itself would begin
        results.append(run(optimizer, [parameter.leaf for parameter in parameters], gradients))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
