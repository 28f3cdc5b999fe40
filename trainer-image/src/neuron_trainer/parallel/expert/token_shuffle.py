"""Token shuffle: tokens of several data-parallel processes are mixed before they are routed (B-12).

With a capacity each process drops what is too much for an expert among its own tokens. Mixed tokens have a more even
load, so fewer are dropped. After the experts every token goes back to its place: where none is dropped, an output does
not depend on the shuffle. The load that the auxiliary loss looks at is that of the mixed tokens.
"""

from dataclasses import dataclass
from math import isqrt
from typing import Final

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Replicate

from neuron_trainer.models.blocks.moe.layer import MoE
from neuron_trainer.models.blocks.seeds import Seeded, hashed
from neuron_trainer.parallel.axis import Axis

from .exchange import swap

_EVALUATION: Final = 0
"""The seed where nothing is drawn, so that evaluation does not change training."""
_ROUNDS: Final = 4
_BITS: Final = 2**24 - 1
"""Of a hash that are added: the sum with a number of tokens is an int32."""


def apply(module: nn.Module, axis: Axis) -> None:
    """Mix the tokens of an axis before every layer of experts."""
    for child in module.modules():
        if isinstance(child, MoE):
            child.shuffle = Shuffle(axis)


class Shuffle(Seeded, nn.Module):
    """See `Mixer` of the layer. Tokens of a micro-batch on a process: a multiple of the axis's size."""

    def __init__(self, axis: Axis) -> None:
        super().__init__()
        self._axis = axis

    @property
    def is_active(self) -> bool:
        """See `Seeded`."""
        return self.training

    def mix(self, states: Tensor) -> tuple[Tensor, "Order"]:
        """[B, S, H] of this process to as many tokens of the whole axis, and the way back."""
        if isinstance(states, DTensor):  # gathered from a part of the sequence
            states = states.to_local(grad_placements=[Replicate()])
        tokens = states.shape[0] * states.shape[1]
        seed = self.next_seed() if self.is_active else _EVALUATION
        order = Order(_permutations(tokens, seed, states.device), self._axis)
        return order.mix(states), order


def _permutations(tokens: int, seed: int | Tensor, device: torch.device) -> Tensor:
    """Return two permutations, int64 [2, tokens], the same on all processes.

    As the masks of dropout: in host memory PyTorch's generator draws them, on a device they are computed there, since a
    graph has no generator, and nothing is to be copied in each layer.
    """
    if device.type != "cpu":
        return torch.stack([_computed(tokens, seed, first, device) for first in (0, 2 * _ROUNDS)])
    if torch.compiler.is_compiling():
        seed = torch.full((), seed) if isinstance(seed, int) else seed
        order: Tensor = _drawn_in_graph(tokens, seed)
        return order
    return _drawn(tokens, int(seed))


def _drawn(tokens: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(tokens, generator=generator) for _ in range(2)])


@torch.library.custom_op("neuron_trainer::permutations", mutates_args=())
def _drawn_in_graph(tokens: int, seed: Tensor) -> Tensor:
    """Hide from the compiler that a generator is made."""
    return _drawn(tokens, int(seed))


@_drawn_in_graph.register_fake
def _(tokens: int, seed: Tensor) -> Tensor:
    return seed.new_empty(2, tokens)


def _computed(tokens: int, seed: int | Tensor, first: int, device: torch.device) -> Tensor:
    """A permutation without sorting, which NeuronCores cannot: a place is a row and a column, and each in turn is moved
    on by a hash of the other (a Feistel cipher). `first`: of the keys of the hash."""
    rows = next(size for size in range(isqrt(tokens), 0, -1) if tokens % size == 0)
    columns = tokens // rows
    place = torch.arange(tokens, dtype=torch.int32, device=device)
    row, column = place.div(columns, rounding_mode="floor"), place % columns
    for key in range(first, first + 2 * _ROUNDS, 2):
        row = (row + (hashed(column, seed, key) & _BITS)) % rows
        column = (column + (hashed(row, seed, key + 1) & _BITS)) % columns
    return (row * columns + column).long()


@dataclass(frozen=True, slots=True)
class Order:
    """A permutation of a process's tokens, an exchange of equal parts, a permutation of what came."""

    permutations: Tensor
    """Before and after the exchange, int64 [2, tokens]."""
    axis: Axis

    def mix(self, states: Tensor) -> Tensor:
        """Mixed."""
        before, after = self.permutations.unbind()
        sent = states.flatten(0, 1).index_select(0, before)
        return swap(sent, self.axis).index_select(0, after).view(states.shape)

    def back(self, states: Tensor) -> Tensor:
        """The inverse of `mix`."""
        before, after = self.permutations.unbind()
        sent = _put(states.flatten(0, 1), after)
        return _put(swap(sent, self.axis), before).view(states.shape)


def _put(rows: Tensor, places: Tensor) -> Tensor:
    """Return each row in its place, the inverse of `index_select`."""
    return torch.empty_like(rows, requires_grad=False).index_copy_(0, places, rows)
