"""Token shuffle: tokens of several data-parallel processes are mixed before they are routed (B-12).

With a capacity each process drops what is too much for an expert among its own tokens. Mixed tokens have a more even
load, so fewer are dropped. After the experts every token goes back to its place: where none is dropped, an output does
not depend on the shuffle. The load that the auxiliary loss looks at is that of the mixed tokens.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.tensor import DTensor, Replicate

from neuron_trainer.models.blocks.moe.layer import MoE


def apply(module: nn.Module, group: ProcessGroup) -> None:
    """Mix the tokens of `group` before every layer of experts."""
    for child in module.modules():
        if isinstance(child, MoE):
            child.shuffle = Shuffle(group)


@dataclass(frozen=True, slots=True)
class Shuffle:
    """See `Mixer` of the layer. Tokens of a micro-batch on a process: a multiple of the group's size."""

    group: ProcessGroup

    def mix(self, states: Tensor, *, is_random: bool) -> tuple[Tensor, "Order"]:
        """[B, S, H] of this process to as many tokens of the whole group, and the way back."""
        if isinstance(states, DTensor):  # gathered from a part of the sequence
            states = states.to_local(grad_placements=[Replicate()])
        order = Order.draw(states.shape[0] * states.shape[1], self.group, is_random=is_random)
        return order.mix(states), order


@dataclass(frozen=True, slots=True)
class Order:
    """A permutation of a process's tokens, an exchange of equal parts, a permutation of what came."""

    before: Tensor
    after: Tensor
    group: ProcessGroup

    @classmethod
    def draw(cls, tokens: int, group: ProcessGroup, *, is_random: bool) -> "Order":
        """The same on all processes. As a dropout mask's, the seed is from the checkpointed generator of the CPU.

        In evaluation none is drawn, so that it does not change training.
        """
        seed = int(torch.randint(2**62, ())) if is_random else 0
        generator = torch.Generator().manual_seed(seed)
        before, after = (torch.randperm(tokens, generator=generator) for _ in range(2))
        return cls(before, after, group)

    def mix(self, states: Tensor) -> Tensor:
        """Mixed."""
        sent = states.flatten(0, 1).index_select(0, self.before.to(states.device))
        mixed = _swapped(sent, self.group).index_select(0, self.after.to(states.device))
        return mixed.view(states.shape)

    def back(self, states: Tensor) -> Tensor:
        """The inverse of `there`."""
        sent = states.flatten(0, 1).index_select(0, self.after.argsort().to(states.device))
        return _swapped(sent, self.group).index_select(0, self.before.argsort().to(states.device)).view(states.shape)


def _swapped(rows: Tensor, group: ProcessGroup) -> Tensor:
    result: Tensor = _Swap.apply(rows, group)
    return result


class _Swap(torch.autograd.Function):
    """All-to-all of equal parts, which is its own inverse."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        received = torch.empty_like(rows)
        dist.all_to_all_single(received, rows.contiguous(), group=group)
        return received

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Swap.forward(ctx, gradient, ctx.group), None
