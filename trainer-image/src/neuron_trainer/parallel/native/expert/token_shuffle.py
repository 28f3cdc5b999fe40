"""Token shuffle: tokens of several data-parallel processes are mixed before they are routed (B-12).

With a capacity each process drops what is too much for an expert among its own tokens. Mixed tokens have a more even
load, so fewer are dropped. After the experts every token goes back to its place: where none is dropped, an output does
not depend on the shuffle. The load that the auxiliary loss looks at is that of the mixed tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.tensor import DTensor, Replicate

from neuron_trainer.models.blocks.moe.layer import MoE

from .swap import swap


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
        tokens = states.shape[0] * states.shape[1]
        order = Order.draw(tokens, states.device, self.group, is_random=is_random)
        return order.mix(states), order


@dataclass(frozen=True, slots=True)
class Order:
    """A permutation of a process's tokens, an exchange of equal parts, a permutation of what came."""

    permutations: Tensor
    """Before and after the exchange, int64 [2, tokens], on the device: one copy."""
    group: ProcessGroup

    @classmethod
    def draw(cls, tokens: int, device: torch.device, group: ProcessGroup, *, is_random: bool) -> "Order":
        """The same on all processes. As a dropout mask's, the seed is from the checkpointed generator of the CPU.

        In evaluation none is drawn, so that it does not change training.
        """
        seed = int(torch.randint(2**62, ())) if is_random else 0
        generator = torch.Generator().manual_seed(seed)
        permutations = torch.stack([torch.randperm(tokens, generator=generator) for _ in range(2)])
        return cls(permutations.to(device), group)

    def mix(self, states: Tensor) -> Tensor:
        """Mixed."""
        before, after = self.permutations.unbind()
        sent = states.flatten(0, 1).index_select(0, before)
        return swap(sent, self.group).index_select(0, after).view(states.shape)

    def back(self, states: Tensor) -> Tensor:
        """The inverse of `mix`."""
        before, after = self.permutations.unbind()
        sent = _put(states.flatten(0, 1), after)
        return _put(swap(sent, self.group), before).view(states.shape)


def _put(rows: Tensor, places: Tensor) -> Tensor:
    """Return each row in its place, the inverse of `index_select`."""
    return torch.empty_like(rows, requires_grad=False).index_copy_(0, places, rows)
