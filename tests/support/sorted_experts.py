"""Experts with shapes that follow from the routing, as they were before: the oracle of those whose shapes are static.

Rows are sorted by expert, and each expert computes as many as there are.
"""

from torch import Tensor, cat, zeros_like
from torch.nn.functional import linear

from neuron_trainer.models.blocks.moe.experts import Experts


def sorted_experts(experts: Experts, states: Tensor, affinities: Tensor, chosen: Tensor) -> Tensor:
    """The arguments of `Experts.forward`; without dropout."""
    flat, tokens = chosen.flatten(), states.flatten(0, 1)
    order = flat.argsort(stable=True)
    counts = flat.bincount(minlength=len(experts.up_proj) + 1)[: len(experts.up_proj)].tolist()
    order = order[: sum(counts)]
    token = order.div(chosen.shape[-1], rounding_mode="floor")
    parts = tokens.index_select(0, token).split(counts)
    ups = [linear(part, weight) for part, weight in zip(parts, experts.up_proj, strict=True)]
    if experts.gate_proj is None:
        inner = [experts._function(up) for up in ups]
    else:
        gates = [linear(part, weight) for part, weight in zip(parts, experts.gate_proj, strict=True)]
        inner = [experts._function(gate) * up for gate, up in zip(gates, ups, strict=True)]
    rows = cat(inner).split(counts)
    computed = cat([linear(part, weight) for part, weight in zip(rows, experts.down_proj, strict=True)])
    weighted = computed * affinities.flatten().index_select(0, order)[:, None]
    total = zeros_like(tokens, dtype=weighted.dtype).index_add(0, token, weighted)
    return total.to(states.dtype).view(states.shape)
