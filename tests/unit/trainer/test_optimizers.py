"""Optimizers do what the ones they are named after do."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.optimization import Adafactor

from neuron_api.config import ModelConfig
from neuron_api.config.optimizers import OPTIMIZERS
from neuron_trainer import optim
from neuron_trainer.errors import InputError
from neuron_trainer.optim.adafactor import Adafactor as OurAdafactor
from neuron_trainer.optim.adamw_fp32 import AdamWFP32OptState
from neuron_trainer.optim.build import implementation
from neuron_trainer.optim.novograd import NovoGrad
from neuron_trainer.parallel import LocalParameter

RECORDED = json.loads((Path(__file__).parents[2] / "data" / "oracles" / "optimizers.json").read_text())
Gradients = list[list[Tensor]]


class Whole(LocalParameter):
    """A parameter that is not split."""

    def for_checkpoint(self, local: Tensor, dims: tuple[int, ...] | None = None) -> Tensor:
        return local


def wholes(initial: list[Tensor]) -> list[LocalParameter]:
    leaves = [nn.Parameter(values.clone()) for values in initial]
    return [Whole(f"p{number}", leaf.shape, leaf, replicas=1) for number, leaf in enumerate(leaves)]


def model(*, decays_all: bool = True, **optimizer: Any) -> ModelConfig:
    return ModelConfig.model_validate(
        {"encoder_seq_length": 32, "do_layer_norm_weight_decay": decays_all, "optim": optimizer}
    )


def run(
    optimizer: torch.optim.Optimizer,
    leaves: list[nn.Parameter],
    gradients: Gradients,
    schedule: Callable[[], None] = lambda: None,
) -> list[list[Tensor]]:
    """Parameters after each step."""
    found = []
    for step in gradients:
        for leaf, gradient in zip(leaves, step, strict=True):
            leaf.grad = gradient.clone()
        optimizer.step()
        schedule()
        found.append([leaf.detach().clone() for leaf in leaves])
    return found


def ours(config: ModelConfig, initial: list[Tensor], gradients: Gradients) -> list[list[Tensor]]:
    """At a constant rate, or at adafactor's relative steps."""
    parameters = wholes(initial)
    optimizer = optim.build(config, parameters)
    schedule: Callable[[], None] = lambda: None  # noqa: E731
    if config.optim.relative_step:
        schedule = optim.schedule(config.optim, optimizer, optim.Extent(1, lambda: 1, 1)).step
    return run(optimizer, [parameter.leaf for parameter in parameters], gradients, schedule)


def theirs(kind: Callable[..., torch.optim.Optimizer], initial: list[Tensor], gradients: Gradients,
           **arguments: Any) -> list[list[Tensor]]:  # fmt: skip
    leaves = [nn.Parameter(values.clone()) for values in initial]
    return run(kind(leaves, **arguments), leaves, gradients)


def random(steps: int = 6) -> tuple[list[Tensor], Gradients]:
    """Gradients with a drift, so that signs are kept and lost."""
    torch.manual_seed(2)
    initial = [torch.randn(5, 3), torch.randn(7), torch.randn(2, 4, 3)]
    return initial, [[torch.randn_like(values) + 0.5 for values in initial] for _ in range(steps)]


def is_compounded(recorded: dict[str, Any]) -> bool:
    """NeMo's adafactor writes a rate scaled by one parameter back as the rate of the next parameter and step."""
    return recorded["optimizer"] == "adafactor" and recorded["args"].get("beta1") is not None


def assert_recorded(found: list[list[Tensor]], recorded: dict[str, Any]) -> None:
    assert len(found) == len(recorded["parameters"]) == 8
    for values, wanted in zip(found, recorded["parameters"], strict=True):
        for value, want in zip(values, wanted, strict=True):
            torch.testing.assert_close(value, torch.tensor(want), rtol=1e-6, atol=2e-8)


def given(recorded: dict[str, Any]) -> tuple[list[Tensor], Gradients]:
    gradients = [[torch.tensor(gradient) for gradient in step] for step in recorded["gradients"]]
    return [torch.tensor(values) for values in recorded["initial"]], gradients


@pytest.mark.parametrize(
    "recorded",
    [recorded for recorded in RECORDED if not is_compounded(recorded)],
    ids=lambda recorded: f"{recorded['optimizer']} {recorded['args']}",
)
def test_trajectories_are_those_recorded(recorded: dict[str, Any]) -> None:
    defaults = {"relative_step": True} if recorded["optimizer"] == "adafactor" else {}  # NeMo's, not the document's
    config = model(name=recorded["optimizer"], **{**defaults, "weight_decay": 0, **recorded["args"]})
    assert_recorded(ours(config, *given(recorded)), recorded)


def test_adafactors_average_and_decay_are_those_recorded_at_the_rates_of_the_record() -> None:
    [recorded] = [recorded for recorded in RECORDED if is_compounded(recorded)]
    initial, gradients = given(recorded)
    leaves = [nn.Parameter(values) for values in initial]
    optimizer = OurAdafactor(
        [{"params": [leaf]} for leaf in leaves], lr=0, scale_parameter=False, beta1=0.9, weight_decay=0.01
    )
    rate, found = recorded["args"]["lr"], []
    for step in gradients:
        for group, leaf in zip(optimizer.param_groups, leaves, strict=True):
            rate = group["lr"] = rate * max(1e-3, leaf.square().mean().sqrt().item())
        found += run(optimizer, leaves, [step])
    assert_recorded(found, recorded)


DECAY = {"weight_decay": 0.2}
TORCH: dict[str, tuple[type[torch.optim.Optimizer], list[dict[str, Any]]]] = {
    "adamw": (torch.optim.AdamW, [DECAY, {"betas": [0.8, 0.9]}, {"eps": 0.1}, {"amsgrad": True, "betas": [0.5, 0.6]}]),
    "adam": (torch.optim.Adam, [DECAY, {"betas": [0.8, 0.9]}, {"eps": 0.1}, {"amsgrad": True, "betas": [0.5, 0.6]}]),
    "sgd": (
        torch.optim.SGD,
        [DECAY, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.3}, {"momentum": 0.9, "nesterov": True}],
    ),
    "adadelta": (torch.optim.Adadelta, [DECAY, {"rho": 0.5}, {"eps": 1e-3}]),
    "adamax": (torch.optim.Adamax, [DECAY, {"betas": [0.8, 0.9]}, {"eps": 0.1}]),
    "adagrad": (torch.optim.Adagrad, [DECAY, {"lr_decay": 0.1}, {"initial_accumulator_value": 0.3}, {"eps": 0.1}]),
    "rmsprop": (
        torch.optim.RMSprop,
        [DECAY, {"alpha": 0.5}, {"eps": 0.1}, {"momentum": 0.9}, {"centered": True, "alpha": 0.7},
         {"centered": True, "momentum": 0.5}],
    ),
    "rprop": (torch.optim.Rprop, [{"etas": [0.3, 1.5]}, {"step_sizes": [0.01, 0.05]}]),
}  # fmt: skip
CASES = [(name, {}) for name in TORCH] + [(name, changed) for name, (_, all) in TORCH.items() for changed in all]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "changed"), CASES, ids=str)
def test_torchs_optimizers_get_their_arguments(name: str, changed: dict[str, Any]) -> None:
    initial, gradients = random()
    found = ours(model(name=name, lr=0.02, **changed), initial, gradients)
    wanted = theirs(TORCH[name][0], initial, gradients, lr=0.02, **changed)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7)
    if changed:
        default = ours(model(name=name, lr=0.02), initial, gradients)
        assert not torch.allclose(found[-1][0], default[-1][0], rtol=1e-4)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"beta1": 0.8},
        {"eps": [1e-2, 0.5], "scale_parameter": True},
        {"clip_threshold": 0.3},
        {"decay_rate": -0.4},
        {"weight_decay": 0.3, "scale_parameter": True},
        {"relative_step": True},
        {"relative_step": True, "warmup_init": True},
    ],
    ids=str,
)
def test_adafactor_is_that_of_transformers(changed: dict[str, Any]) -> None:
    initial, gradients = random()
    rate = {} if changed.get("relative_step") else {"lr": 0.02}
    arguments = {"scale_parameter": False, "relative_step": False, **changed, **rate}
    found = ours(model(name="adafactor", **arguments), initial, gradients)
    wanted = theirs(Adafactor, initial, gradients, **arguments)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_min_step_bounds_the_relative_step() -> None:
    config = model(name="adafactor", relative_step=True, min_step=0.3).optim
    rate = optim.rates(config, optim.Extent(1, lambda: 1, 1))
    assert [rate(step) for step in (0, 10, 11, 99)] == [0.3, 0.3, pytest.approx(12**-0.5), 0.1]


def test_adamw_fp32_without_eps_and_decay_is_torch_adamw() -> None:
    initial, gradients = random()
    found = theirs(AdamWFP32OptState, initial, gradients, lr=0.01, eps=0.0)
    wanted = theirs(torch.optim.AdamW, initial, gradients, lr=0.01, eps=0.0, weight_decay=0.0)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7)


def test_novograd_begins_with_the_first_gradient_that_is_not_zero() -> None:
    torch.manual_seed(4)
    initial, gradient = [torch.randn(3, 3)], torch.randn(3, 3)
    late = theirs(NovoGrad, initial, [[torch.zeros(3, 3)], [gradient], [2 * gradient]], lr=0.1)
    wanted = theirs(NovoGrad, initial, [[gradient], [2 * gradient]], lr=0.1)
    torch.testing.assert_close(late[1:], wanted, rtol=0, atol=0)
    torch.testing.assert_close(late[0], initial, rtol=0, atol=0)


def test_novograds_trust_bounds_the_rate_by_the_weights() -> None:
    initial, gradients = random(1)
    found = theirs(NovoGrad, initial, gradients, lr=1.0, luc=True, luc_trust=1e-2)
    for before, after in zip(initial, found[0], strict=True):
        assert (after - before).norm().item() == pytest.approx(1e-2 * before.norm().item(), rel=1e-4)


@pytest.mark.parametrize("kind", [AdamWFP32OptState, NovoGrad, OurAdafactor])
def test_statistics_of_16_bit_parameters_are_fp32(kind: Callable[..., torch.optim.Optimizer]) -> None:
    leaves = [nn.Parameter(torch.ones(shape, dtype=torch.bfloat16)) for shape in ((4, 2), (4,))]
    optimizer = kind(leaves, lr=0.01)
    run(optimizer, leaves, [[torch.full_like(leaf, 1e-3) for leaf in leaves]] * 2)
    own = {name: state for leaf in leaves for name, state in optimizer.state[leaf].items()}
    if kind is not AdamWFP32OptState:
        own.pop("exp_avg", None)
    assert {state.dtype for state in own.values()} == {torch.float32}
    assert all(bool((leaf < 1).all()) for leaf in leaves)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("decays_all", [False, True])
def test_norms_and_biases_are_decayed_only_when_asked(name: str, decays_all: bool) -> None:
    parameters = wholes([torch.ones(2, 2), torch.ones(2)])
    groups = optim.build(model(decays_all=decays_all, name=name, lr=0.1, weight_decay=0.3), parameters).param_groups
    decayed = [leaf.ndim for group in groups if group["weight_decay"] == 0.3 for leaf in group["params"]]
    assert decayed == ([2, 1] if decays_all else [2])


@pytest.mark.parametrize(
    ("name", "left"), [("adamw", 1 - 0.1 * 0.3), ("adamw_fp32OptState", 1 - 0.1 * 0.3), ("adafactor", 1 - 0.1 * 0.3),
                       ("sgd", 1 - 0.1 * 0.3), ("novograd", 1 - 0.1 * 0.3)],
)  # fmt: skip
def test_a_gradient_of_zero_leaves_the_decay(name: str, left: float) -> None:
    config = model(decays_all=False, name=name, lr=0.1, weight_decay=0.3, scale_parameter=False)
    matrix, vector = ours(config, [torch.ones(2, 2), torch.ones(2)], [[torch.zeros(2, 2), torch.zeros(2)]])[0]
    torch.testing.assert_close(matrix, torch.full((2, 2), left))
    torch.testing.assert_close(vector, torch.ones(2))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "changed"), [case for case in CASES if case[0] != "sgd"], ids=str)
def test_state_is_there_before_the_first_step_and_makes_no_difference(name: str, changed: dict[str, Any]) -> None:
    """Against what torch makes itself in the first step."""
    initial, gradients = random()
    results, states = [], []
    for is_cleared in (False, True):
        parameters = wholes(initial)
        optimizer = optim.build(model(name=name, lr=0.02, **changed), parameters)
        before = {parameter.name: dict(optimizer.state[parameter.leaf]) for parameter in parameters}
        if is_cleared and name != "adagrad":  # torch makes Adagrad's in its constructor
            optimizer.state.clear()
        results.append(run(optimizer, [parameter.leaf for parameter in parameters], gradients))
        after = {parameter.name: optimizer.state[parameter.leaf] for parameter in parameters}
        states.append({(p, s): (t.shape, t.dtype) for p, found in after.items() for s, t in found.items()})
        assert {p: set(found) for p, found in before.items()} == {p: set(found) for p, found in after.items()}
    assert states[0] == states[1]
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_capturable_is_dropped_on_the_cpu(name: str) -> None:
    initial, gradients = random()
    found = ours(model(name=name, lr=0.02, capturable=True), initial, gradients)
    torch.testing.assert_close(found, ours(model(name=name, lr=0.02), initial, gradients), rtol=0, atol=0)


OWN: list[tuple[str, dict[str, Any]]] = [
    ("adamw_fp32OptState", {"betas": (0.7, 0.8), "eps": 0.1, "correct_bias": False}),
    ("novograd", {"betas": (0.7, 0.8), "eps": 0.1, "grad_averaging": True, "amsgrad": True, "luc": True,
                  "luc_trust": 0.5}),
    ("adafactor", {"eps": (0.1, 0.2), "clip_threshold": 0.3, "decay_rate": -0.4, "beta1": 0.5,
                   "scale_parameter": False}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments"), OWN)
def test_our_optimizers_get_their_arguments(name: str, arguments: dict[str, Any]) -> None:
    [group] = optim.build(model(name=name, lr=0.02, **arguments), wholes([torch.ones(2, 2)])).param_groups
    assert {key: group[key] for key in arguments} == arguments
    [group] = optim.build(model(name=name, lr=0.02), wholes([torch.ones(2, 2)])).param_groups
    assert all(group[key] != value for key, value in arguments.items())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_argument_that_is_not_refused_is_taken(name: str) -> None:
    """adafactor's relative steps are a schedule."""
    taken = set(inspect.signature(implementation(name)).parameters)
    ours = {"params", "lr", "weight_decay", "foreach", "capturable", "layouts", "maximize", "differentiable", "fused"}
    assert taken - ours - {"decoupled_weight_decay"} == set(OPTIMIZERS[name].arguments)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_every_optimizer_is_that_of_its_spec(name: str) -> None:
    """With every option that adds a tensor, and with none."""
    spec, options = OPTIMIZERS[name], {"momentum": 0.9, "beta1": 0.9}
    matrix = torch.ones(3, 2)
    for arguments in ({}, {key: options.get(key, True) for key in spec.optional_states}):
        config, parameters = model(name=name, lr=0.02, **arguments), wholes([matrix.clone()])
        optimizer = optim.build(config, parameters)
        kept = {key for key, tensor in optimizer.state[parameters[0].leaf].items() if tensor.shape == matrix.shape}
        assert kept == set(config.optim.states)
        assert len(kept) == len(spec.states) + len(arguments)


@pytest.mark.parametrize(("name", "eps"), [("adamw", [1e-30, 1e-3]), ("adafactor", 1e-8)])
def test_an_eps_of_the_wrong_form_is_told(name: str, eps: object) -> None:
    with pytest.raises(InputError, match=r"model\.optim\.eps.*adafactor a pair"):
        optim.build(model(name=name, lr=0.02, eps=eps), wholes([torch.ones(2)]))
