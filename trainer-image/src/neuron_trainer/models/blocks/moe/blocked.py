"""Experts on a device: rows in blocks of a fixed size, each of one expert, all blocks in one batched multiplication.

The host never learns how many rows an expert has. Blocks for every split of R rows over E experts are at most
(R + E (B - 1)) / B; with B = R / E that is less than 2 E, so no more than twice the rows are computed, and the weights
are copied twice. Where an expert cannot have more than twice an even share (a capacity, or few experts), it has one
block of that size instead, and no weight is copied.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch import Tensor

from .products import Rows
from .slots import Slots, equal_parts, number, slots_from


@dataclass(frozen=True, slots=True)
class Blocked:
    """See `Arrangement`."""

    slots: Slots
    block: int
    """Slots of one."""
    owner: Tensor | None
    """The expert of each block, int64 [N]; None: each has one."""

    def linear(self, values: Tensor, weights: Tensor) -> Tensor:
        """See `Arrangement`."""
        blocks = values.view(-1, self.block, values.shape[1])
        if self.owner is None:
            return torch.bmm(blocks, weights.transpose(1, 2)).flatten(0, 1)
        result: Tensor = _BlockLinear.apply(blocks, weights, self.owner)
        return result.flatten(0, 1)


def blocked(rows: Rows) -> Blocked:
    """See `Product`."""
    even = ceil(len(rows.experts) / rows.count)
    if rows.limit <= 2 * even:
        return Blocked(equal_parts(rows.experts, rows.count, rows.limit), rows.limit, None)
    size = (len(rows.experts) + rows.count * (even - 1)) // even * even
    places, sizes = number(rows.experts, rows.count)
    blocks = (sizes + even - 1).div(even, rounding_mode="floor")
    ends = blocks.cumsum(dim=0)
    slot = slots_from((ends - blocks) * even, rows.experts, places, size)
    is_before = ends <= torch.arange(size // even, device=ends.device).unsqueeze(1)
    owner = is_before.int().sum(dim=1).clamp(max=rows.count - 1)
    return Blocked(Slots.sparse(slot, size), even, owner)


class _BlockLinear(torch.autograd.Function):
    """[N, B, in] and [E, out, in] to [N, B, out]; the blocks' weights are taken again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, weights: Tensor, owner: Tensor) -> Tensor:
        of_blocks, of_weights, _ = ctx.needs_input_grad  # as grouped.py: frozen weights need no values
        ctx.save_for_backward(blocks if of_weights else None, weights if of_blocks else None, owner)
        ctx.count = len(weights)
        return torch.bmm(blocks, weights.index_select(0, owner).transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        blocks, weights, owner = ctx.saved_tensors
        of_blocks, of_weights, _ = ctx.needs_input_grad
        return (
            torch.bmm(gradient, weights.index_select(0, owner)) if of_blocks else None,
            _sums(torch.bmm(gradient.transpose(1, 2), blocks), owner, ctx.count) if of_weights else None,
            None,
        )


def _sums(products: Tensor, owner: Tensor, count: int) -> Tensor:
    """[N, out, in] summed by expert, [E, out, in]."""
    sums = products.new_zeros(count, *products.shape[1:])
    return sums.index_add(0, owner, products)
