"""Routers, capacity and the load-balancing loss against their definitions, computed another way."""

from dataclasses import replace
from math import ceil
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import linear, silu

from neuron_trainer.models.blocks.moe import MoE, MoeSettings, load_balancing_loss
from neuron_trainer.models.blocks.moe.layer import expert_capacity, within_capacity
from neuron_trainer.models.blocks.moe.router import Router, sinkhorn

HIDDEN, INNER, EXPERTS = 16, 24, 4
TWO = MoeSettings(num_experts=EXPERTS, top_k=2)


def layer(settings: MoeSettings, activation: str = "silu", seed: int = 0) -> MoE:
    """With random weights."""
    torch.manual_seed(seed)
    built = MoE(HIDDEN, INNER, activation, settings)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return built


def states(batch: int = 3, length: int = 10) -> Tensor:
    return torch.randn(batch, length, HIDDEN, generator=torch.Generator().manual_seed(1))


def by_hand(moe: MoE, token: Tensor, allowed: list[int] | None = None) -> Tensor:
    """One token at a time: sum over its experts (that are allowed) of affinity * expert(x)."""
    routing = moe.gate(token[None, None])
    total = torch.zeros(HIDDEN)
    for weight, expert in zip(routing.affinities.flatten(), routing.chosen.flatten().tolist(), strict=True):
        if allowed is None or expert in allowed:
            up = linear(token, moe.experts.up_proj[expert])
            gate = moe.experts.gate_proj
            inner = silu(up) if gate is None else silu(linear(token, gate[expert])) * up
            total = total + weight * linear(inner, moe.experts.down_proj[expert])
    return total


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_affinities_are_the_scores_of_the_best_experts(top_k: int, normalize: bool, activation: str) -> None:
    settings = replace(TWO, top_k=top_k, normalize_top_k_affinities=normalize, router_activation=activation)
    router = layer(settings).gate
    found = router(states())
    logits = linear(states(), router.weight)
    scores = logits.sigmoid() if activation == "sigmoid" else logits.softmax(dim=-1)
    ranked = scores.sort(dim=-1, descending=True)
    wanted = ranked.values[..., :top_k]
    if normalize:
        torch.testing.assert_close(found.affinities.sum(dim=-1), torch.ones(3, 10))
        wanted = wanted / wanted.sum(dim=-1, keepdim=True)
    torch.testing.assert_close(found.affinities, wanted)
    assert torch.equal(found.chosen, ranked.indices[..., :top_k])


@pytest.mark.parametrize("is_gated", [True, False])
def test_the_output_is_the_weighted_sum_of_the_experts(is_gated: bool) -> None:
    moe = layer(replace(TWO, is_gated=is_gated))
    found, _ = moe(states())
    wanted = torch.stack([torch.stack([by_hand(moe, token) for token in row]) for row in states()])
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@given(st.integers(1, 3), st.integers(1, 12), st.integers(1, 4), st.floats(0.1, 3))
def test_an_expert_keeps_its_first_tokens_up_to_the_capacity(
    batch: int, length: int, top_k: int, factor: float
) -> None:
    tokens = batch * length
    chosen = torch.rand(batch, length, EXPERTS).topk(top_k).indices
    limit = expert_capacity(tokens, top_k, factor, EXPERTS)
    assert limit == min(tokens, ceil(tokens * top_k * factor / EXPERTS))
    left = dict.fromkeys(range(EXPERTS), limit)
    kept = within_capacity(chosen, EXPERTS, limit)
    for position in range(length):
        for row in range(batch):
            for choice, expert in enumerate(chosen[row, position].tolist()):
                assert kept[row, position, choice].item() == (left[expert] > 0)
                left[expert] -= 1


def test_a_dropped_assignment_adds_nothing() -> None:
    moe, full = layer(replace(TWO, capacity_factor=0.5)), layer(TWO)
    limit = expert_capacity(30, 2, 0.5, EXPERTS)
    chosen = full.gate(states()).chosen
    kept = within_capacity(chosen, EXPERTS, limit)
    found, _ = moe(states())
    assert 0 < kept.sum() < kept.numel()
    for row in range(3):
        for position in range(10):
            allowed = chosen[row, position][kept[row, position]].tolist()
            wanted = by_hand(full, states()[row, position], allowed)
            torch.testing.assert_close(found[row, position], wanted, rtol=1e-5, atol=1e-5)


def test_with_room_for_all_nothing_is_dropped() -> None:
    wanted, _ = layer(TWO)(states())
    for factor in (2.0, 3.0):  # E / top_k is 2
        assert torch.equal(layer(replace(TWO, capacity_factor=factor))(states())[0], wanted)


def test_what_comes_later_does_not_drop_a_token() -> None:
    moe = layer(replace(TWO, capacity_factor=0.75))
    changed = states()
    changed[:, 5:] = changed[:, 5:].flip(1)
    limit = expert_capacity(30, 2, 0.75, EXPERTS)
    before, after = moe.gate(states()).chosen, moe.gate(changed).chosen
    assert not torch.equal(before, after)
    assert torch.equal(within_capacity(before, EXPERTS, limit)[:, :5], within_capacity(after, EXPERTS, limit)[:, :5])


@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_sinkhorn_gives_each_token_and_each_expert_an_equal_share(scale: float) -> None:
    logits = torch.randn(40, EXPERTS, generator=torch.Generator().manual_seed(2)) * scale
    found = sinkhorn(logits, 30 if scale == 1 else 3000, None)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.sum(dim=0), torch.full((EXPERTS,), 1 / EXPERTS), rtol=1e-3, atol=1e-4)
    if scale == 1:
        torch.testing.assert_close(found.sum(dim=1), torch.full((40,), 1 / 40), rtol=1e-3, atol=1e-5)
        ratio = found / logits.exp()  # only rows and columns are scaled: a matrix of rank one
        assert torch.linalg.matrix_rank(ratio / ratio.norm(), tol=1e-4) == 1


def test_sinkhorn_ends_at_the_tolerance() -> None:
    logits = torch.randn(40, EXPERTS, generator=torch.Generator().manual_seed(2))
    exact, loose = sinkhorn(logits, 30, None), sinkhorn(logits, 30, 1e9)
    assert torch.equal(loose, sinkhorn(logits, 1, None))
    assert not torch.equal(loose, exact)
    torch.testing.assert_close(sinkhorn(logits, 300, 1e-6), exact, rtol=1e-4, atol=1e-7)


def test_the_sinkhorn_router_is_balanced_in_training_and_looks_at_one_token_in_evaluation() -> None:
    one = {"top_k": 1, "normalize_top_k_affinities": False}
    settings = replace(TWO, **one, routing_algorithm="sinkhorn", router_activation="sigmoid")  # type: ignore[arg-type]
    router = layer(settings).gate
    tokens = states(4, 50) + 1.0  # a common direction: without balance most tokens take one expert
    logits = linear(tokens, router.weight)
    balanced, best = router(tokens), router.eval()(tokens)
    assert torch.equal(best.chosen, logits.argmax(dim=-1, keepdim=True))
    loads = [routing.chosen.flatten().bincount(minlength=EXPERTS).max() for routing in (balanced, best)]
    assert loads[0] < 80 < 100 < loads[1]
    torch.testing.assert_close(balanced.affinities, logits.sigmoid().gather(-1, balanced.chosen))


@pytest.mark.parametrize("top_k", [1, 2])
def test_the_load_balancing_loss_is_1_when_the_load_is_even_and_e_over_k_when_it_is_not(top_k: int) -> None:
    router = Router(HIDDEN, replace(TWO, top_k=top_k))
    torch.nn.init.zeros_(router.weight)
    uniform = router(states()).balance
    assert load_balancing_loss([uniform], top_k).item() == pytest.approx(1.0)
    one = torch.zeros(2, EXPERTS)
    one[:, :top_k] = torch.tensor([1.0, 1 / top_k])[:, None]
    assert load_balancing_loss([one], top_k).item() == pytest.approx(EXPERTS / top_k)


def test_the_loss_is_of_all_layers_tokens_together() -> None:
    routers = [layer(TWO, seed=seed).gate for seed in (1, 2)]
    found = load_balancing_loss([router(states()).balance for router in routers], 2)
    logits = torch.cat([linear(states(), router.weight).flatten(0, 1) for router in routers])
    chosen = logits.topk(2).indices
    load = torch.zeros(EXPERTS).index_add(0, chosen.flatten(), torch.ones(chosen.numel())) / len(logits)
    wanted = EXPERTS / 2 * (load * logits.softmax(-1).mean(0)).sum()
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(("name", "wanted"), [("dropout", 0.5), ("inner_dropout", 0.5)])
def test_dropout_is_where_it_is_asked_for_and_only_in_training(name: str, wanted: float) -> None:
    changed: dict[str, Any] = {name: wanted}
    moe, plain = layer(replace(TWO, **changed)), layer(TWO)
    assert torch.equal(moe.eval()(states())[0], plain(states())[0])
    found, _ = moe.train()(states())
    zeros = (found == 0).float().mean().item()
    assert zeros == pytest.approx(0.5 if name == "dropout" else 0.0, abs=0.08)
    assert not torch.equal(found, plain(states())[0])
