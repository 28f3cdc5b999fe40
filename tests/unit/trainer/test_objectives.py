"""Losses and metrics of pairs against recorded values, and what must hold for any numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from neuron_trainer.objectives import Dpo, Orpo, Pairs
from neuron_trainer.objectives.orpo import log1mexp, log_odds

RECORDED = Path(__file__).parents[2] / "data/alignment"


def recorded(name: str) -> Any:
    return json.loads((RECORDED / name).read_text())


def tensor(chosen: Any, rejected: Any) -> torch.Tensor:
    return torch.tensor([chosen, rejected]).T


@pytest.mark.parametrize("row", recorded("dpo/log_sigmoid_table.json")["rows"], ids=lambda row: f"{row['h']}")
def test_the_sigmoid_loss_and_its_gradient(row: dict[str, float]) -> None:
    log_probs = torch.tensor([[row["h"], 0.0]], requires_grad=True)
    loss = Dpo(row["kl_beta"])(Pairs(log_probs, torch.ones(1, 2), torch.zeros(1, 2))).losses.sum()
    loss.backward()
    assert loss.item() == pytest.approx(row["loss"], rel=1e-5, abs=1e-30)
    assert log_probs.grad is not None
    assert log_probs.grad[0].tolist() == pytest.approx([row["d_loss_by_d_h"], -row["d_loss_by_d_h"]], rel=1e-5)


@pytest.mark.parametrize("case", recorded("dpo/static.json")["cases"], ids=lambda c: f"{c['reference']} {c['kl_beta']}")
def test_dpo_with_recorded_log_probabilities(case: dict[str, Any]) -> None:
    own = tensor(case["logps_chosen"], case["logps_rejected"])
    reference = tensor(case["reference_logps_chosen"], case["reference_logps_rejected"])
    losses, metrics = Dpo(case["kl_beta"])(Pairs(own, torch.ones_like(own), reference))
    assert losses.tolist() == pytest.approx(case["loss_each"], abs=1e-5)
    names = {"rewards_margin": "margins", "rewards_accuracy": "accuracies"}
    for name, values in metrics.items():
        assert values.tolist() == pytest.approx(case[names.get(name, name)], abs=1e-5), name


@pytest.mark.parametrize(("dtype", "rel"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("row", recorded("orpo/log_odds_table.json")["rows"], ids=lambda r: f"{r['chosen_mean_logp']}")
def test_log_odds_are_finite_and_right_for_sure_tokens(row: dict[str, float], dtype: torch.dtype, rel: float) -> None:
    means = torch.tensor([[row["chosen_mean_logp"], row["rejected_mean_logp"]]], dtype=dtype, requires_grad=True)
    losses, metrics = Orpo(1.0)(Pairs(means, torch.ones(1, 2)))
    losses.sum().backward()
    assert metrics["log_odds"].item() == pytest.approx(row["log_odds"], rel=rel, abs=rel / 10)
    expected = -row["chosen_mean_logp"] - row["log_sigmoid_log_odds"]
    assert losses.item() == pytest.approx(expected, rel=1e-5)
    assert means.grad is not None
    assert means.grad[0, 0].item() == pytest.approx(-1 - row["d_log_sigmoid_by_d_chosen"], rel=1e-5)


@pytest.mark.parametrize("sure", [0.0, -1e-12, -1e-9, -1e-8, -6e-8])
def test_a_token_that_is_sure_has_finite_odds_and_gradients(sure: float) -> None:
    for row in ([sure, -1.0], [-1.0, sure], [sure, sure]):
        means = torch.tensor([row], requires_grad=True)
        losses, metrics = Orpo(0.1)(Pairs(means, torch.ones(1, 2)))
        losses.sum().backward()
        assert means.grad is not None
        assert torch.isfinite(means.grad).all()
        assert torch.isfinite(metrics["log_odds"]).all() and torch.isfinite(losses).all()


def test_log1mexp_is_precise_over_the_whole_range() -> None:
    values = -torch.logspace(-12, 3, 400, dtype=torch.float64)
    exact = torch.log(-torch.expm1(values.clamp(min=-30)))
    assert torch.allclose(log1mexp(values)[values > -30], exact[values > -30], rtol=1e-12, atol=1e-15)
    assert torch.isfinite(log_odds(values.float())).all()


def test_orpo_divides_by_the_tokens_of_each_answer_and_an_empty_one_counts_as_one() -> None:
    sums = torch.tensor([[-6.0, -8.0], [0.0, -4.0]])
    _, metrics = Orpo(0.5)(Pairs(sums, torch.tensor([[3, 4], [0, 2]])))
    assert metrics["nll"].tolist() == [2.0, 0.0]
    assert metrics["chosen_rewards"].tolist() == [-1.0, 0.0]
    assert metrics["rejected_rewards"].tolist() == [-1.0, -1.0]
    assert metrics["rewards_accuracy"].tolist() == [0.0, 1.0], "equal rewards are not accurate"


def test_hinge_and_ipo_by_their_formulas() -> None:
    pairs = Pairs(torch.tensor([[-2.0, -30.0], [-9.0, -3.0]]), torch.tensor([[4, 5], [2, 0]]), torch.full((2, 2), -1.0))
    hinge = Dpo(0.1, "hinge")(pairs)
    assert hinge.losses.tolist() == pytest.approx([0.0, 1 + 0.1 * 6])
    ipo = Dpo(0.1, "ipo")(pairs)
    assert ipo.losses.tolist() == pytest.approx([(-1 / 4 + 29 / 5 - 5) ** 2, (-8 / 2 + 2 - 5) ** 2])
    for name, values in hinge.metrics.items():
        assert values.equal(ipo.metrics[name]), "rewards do not depend on the loss"


def test_metrics_have_no_gradients_and_the_names_that_are_announced() -> None:
    own = torch.randn(3, 2, requires_grad=True)
    for objective in (Dpo(0.1), Orpo(0.1)):
        _, metrics = objective(Pairs(own - 5, torch.ones(3, 2), torch.zeros(3, 2)))
        assert tuple(metrics) == objective.metrics
        assert not any(values.requires_grad for values in metrics.values())
