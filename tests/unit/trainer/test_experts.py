"""Experts with static shapes are the sorted ones, whatever the routing, in every form; and their shapes are static."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neuron_trainer.models.blocks.moe import MoE, MoeSettings
from neuron_trainer.models.blocks.moe.blocked import blocked
from neuron_trainer.models.blocks.moe.experts import Experts
from neuron_trainer.models.blocks.moe.grouped import grouped
from neuron_trainer.models.blocks.moe.products import Product, Rows
from sorted_experts import sorted_experts
from static_shapes import assert_static

HIDDEN, INNER = 6, 10  # no multiple of 16 bytes


@pytest.fixture
def aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows begin at multiples of 16 bytes, as in any model of a useful size: PyTorch has a kernel for them."""
    monkeypatch.setitem(globals(), "HIDDEN", 16)
    monkeypatch.setitem(globals(), "INNER", 32)


PRODUCTS: Final[dict[str, Product]] = {"hosts": grouped, "devices": blocked}


@dataclass(frozen=True)
class Routing:
    """Of 3 samples of 8 tokens."""

    experts: int
    top_k: int
    chosen: Tensor
    capacity: int | None = None


def routed(experts: int, top_k: int, capacity: int | None, favourite: float, seed: int) -> Routing:
    """Tokens choose experts at random, the first ones the more often the larger `favourite`; rows over the capacity
    have none, and some others, too."""
    torch.manual_seed(seed)
    wishes = torch.rand(3, 8, experts) - torch.arange(experts) * favourite
    chosen = wishes.topk(top_k).indices
    if capacity is not None:
        flat = chosen.view(-1)
        before = [(flat[:place] == flat[place]).sum() for place in range(len(flat))]
        flat[torch.stack(before) >= capacity] = experts
    return Routing(experts, top_k, chosen, capacity)


ROUTINGS: Final = {
    "even": routed(4, 2, None, 0.0, 1),
    "one expert has all": routed(4, 1, None, 9.0, 2),
    "two of eight have all": routed(8, 2, None, 9.0, 3),
    "all of all": routed(3, 3, None, 0.0, 4),
    "capacity": routed(4, 2, 5, 0.1, 5),
    "capacity, one expert is full": routed(8, 2, 3, 9.0, 6),
    "capacity 1": routed(4, 2, 1, 0.0, 7),
    "no row has an expert": Routing(4, 2, torch.full((3, 8, 2), 4), 2),
    "one expert": routed(1, 1, None, 0.0, 8),
}


def built(experts: int, *, is_gated: bool = True, dtype: torch.dtype = torch.float32) -> Experts:
    torch.manual_seed(0)
    result = Experts(experts, HIDDEN, INNER, "silu", is_gated=is_gated).to(dtype)
    for parameter in result.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return result


def gradients(
    compute: Callable[[Tensor, Tensor], Tensor], experts: Experts, routing: Routing, dtype: torch.dtype
) -> list[Tensor]:
    """The output, and the gradients of states, affinities and weights."""
    torch.manual_seed(9)
    states = torch.randn(3, 8, HIDDEN, dtype=dtype, requires_grad=True)
    affinities = torch.rand(3, 8, routing.top_k, requires_grad=True)
    experts.zero_grad()
    output = compute(states, affinities)
    output.backward(torch.randn(output.shape, dtype=dtype))
    assert states.grad is not None and affinities.grad is not None
    weights = [parameter.grad for parameter in experts.parameters()]
    assert all(one is not None for one in weights)
    return [output.detach(), states.grad, affinities.grad, *[one.clone() for one in weights if one is not None]]


def assert_sorted(product: Product, routing: Routing, dtype: torch.dtype, *, is_gated: bool = True) -> None:
    """In fp32 to rounding; in bf16 to its."""
    experts = built(routing.experts, is_gated=is_gated, dtype=dtype)
    experts.product = product
    wanted = gradients(lambda s, a: sorted_experts(experts, s, a, routing.chosen), experts, routing, dtype)
    found = gradients(lambda s, a: experts(s, a, routing.chosen, None, routing.capacity), experts, routing, dtype)
    tolerance = 2e-6 if dtype is torch.float32 else 3e-2
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype is other.dtype
        scale = max(1.0, float(other.abs().max()))
        torch.testing.assert_close(one / scale, other / scale, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("is_gated", [True, False])
@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("product", PRODUCTS)
def test_outputs_and_gradients_are_those_of_the_sorted_form(
    product: str, routing: str, is_gated: bool, dtype: torch.dtype
) -> None:
    assert_sorted(PRODUCTS[product], ROUTINGS[routing], dtype, is_gated=is_gated)


@given(
    experts=st.integers(1, 9),
    share=st.integers(1, 9),
    capacity=st.none() | st.integers(1, 30),
    favourite=st.sampled_from([0.0, 0.2, 9.0]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_so_they_are_for_any_routing(
    experts: int, share: int, capacity: int | None, favourite: float, seed: int
) -> None:
    routing = routed(experts, min(share, experts), capacity, favourite, seed)
    for product in PRODUCTS.values():
        assert_sorted(product, routing, torch.float32)


@pytest.mark.usefixtures("aligned")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("product", PRODUCTS)
def test_so_they_are_where_pytorch_has_a_kernel(product: str, routing: str, dtype: torch.dtype) -> None:
    assert_sorted(PRODUCTS[product], ROUTINGS[routing], dtype)


@pytest.mark.usefixtures("aligned")
def test_with_two_experts_a_token_hosts_give_the_same_bits() -> None:
    """The same sums in the same order."""
    routing, experts = ROUTINGS["even"], built(4)
    wanted = gradients(lambda s, a: sorted_experts(experts, s, a, routing.chosen), experts, routing, torch.float32)
    found = gradients(lambda s, a: experts(s, a, routing.chosen), experts, routing, torch.float32)
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("capacity", [None, 3])
def test_no_shape_and_no_operation_depends_on_the_routing(product: str, capacity: int | None) -> None:
    experts = built(8)
    experts.product = PRODUCTS[product]

    def compute(routing: Routing) -> None:
        gradients(lambda s, a: experts(s, a, routing.chosen, None, routing.capacity), experts, routing, torch.float32)

    assert_static(compute, *[(routed(8, 2, capacity, favourite, 1),) for favourite in (0.0, 0.3, 9.0)])


@pytest.mark.parametrize("algorithm", ["top_k", "sinkhorn"])
@pytest.mark.parametrize("capacity_factor", [None, 0.75])
def test_a_whole_layer_is_static(algorithm: str, capacity_factor: float | None) -> None:
    moe = MoE(
        HIDDEN,
        INNER,
        "silu",
        MoeSettings(
            num_experts=4,
            top_k=1,
            routing_algorithm=algorithm,
            sinkhorn_tol=1e-3,
            capacity_factor=capacity_factor,
        ),
    )
    for parameter in moe.parameters():
        torch.nn.init.normal_(parameter)

    def compute(states: Tensor) -> None:
        moe.zero_grad()
        output, shares = moe(states)
        (output.sum() + shares.sum()).backward()

    torch.manual_seed(1)
    some = torch.randn(2, 8, HIDDEN)
    assert_static(compute, (some,), (torch.ones_like(some),), (some + 3,))


@pytest.mark.parametrize("experts", [1, 4, 8, 64])
@pytest.mark.parametrize("top_k", [1, 2, 8])
def test_blocks_have_at_most_twice_the_rows(experts: int, top_k: int) -> None:
    top_k = min(top_k, experts)
    chosen = torch.rand(512, experts).topk(top_k).indices.flatten()
    arranged = blocked(Rows(chosen, experts, 512, is_exact=True))
    assert len(arranged.slots.row) <= 2 * 512 * top_k


@pytest.mark.parametrize("width", [6, 16])
def test_what_empty_slots_hold_reaches_nothing(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where it is infinite: the first token's row is in all of them."""
    monkeypatch.setitem(globals(), "HIDDEN", width)
    monkeypatch.setitem(globals(), "INNER", 2 * width)
    for product in PRODUCTS.values():
        experts = built(4)
        experts.product = product
        states = torch.randn(3, 8, HIDDEN)
        states[0, 0] = 1e30
        chosen = ROUTINGS["capacity"].chosen.clone()
        chosen[0, 0] = 4
        affinities = torch.rand(3, 8, 2)
        output = experts(states, affinities, chosen, None, 5)
        assert torch.isfinite(output).all()
        assert not output[0, 0].any()
