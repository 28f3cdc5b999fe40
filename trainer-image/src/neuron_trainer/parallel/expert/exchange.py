"""Expert parallelism: each process of a group has other experts, and tokens go to where theirs are (B-12).

A token's row is sent once for each of its experts, and comes back computed: two all-to-alls, and two more in the
backward pass. Each process is sent equally many rows, some of them empty: as many as there could be. Which experts a
token goes to, and what is beyond their capacity, is each process's own affair and does not depend on the group.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neuron_trainer.models.blocks.moe.experts import Compute
from neuron_trainer.models.blocks.moe.products import Rows
from neuron_trainer.models.blocks.moe.slots import equal_parts
from neuron_trainer.parallel.axis import Axis


def swap(rows: Tensor, axis: Axis) -> Tensor:
    """Part p of [rows, ...] to process p, whose part for this one takes its place; gradients take the same way.

    Rows: a multiple of the axis's size. A collective, and its own inverse.
    """
    result: Tensor = _Swap.apply(rows, axis)
    return result


class _Swap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, axis: Axis) -> Tensor:
        ctx.axis = axis
        return axis.swap(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        swapped: Tensor = ctx.axis.swap(gradient)
        return swapped, None


@dataclass(frozen=True, slots=True)
class Exchange:
    """Rows for the experts of all processes of the axis, computed where they are. A collective."""

    axis: Axis

    def __call__(self, tokens: Tensor, rows: Rows, compute: Compute) -> Tensor:
        """See `Exchange` of the experts."""
        size = self.axis.size
        own = rows.count // size
        top_k = len(rows.experts) // len(tokens)
        # A token goes to an expert once, and no expert has more than `limit`.
        room = min(own * rows.limit, len(tokens) * min(top_k, own))
        slots = equal_parts(rows.experts.div(own, rounding_mode="floor"), size, room)
        assert slots.is_filled is not None
        numbers = torch.where(slots.is_filled, rows.experts.index_select(0, slots.row) % own, own)
        arrived = swap(slots.spread(tokens), self.axis)
        experts_of_arrived = swap(numbers.to(torch.int32), self.axis).long()
        computed = compute(arrived, Rows(experts_of_arrived, own, size * rows.limit, is_exact=False))
        return slots.collect(swap(computed, self.axis))
