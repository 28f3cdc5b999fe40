"""Dropout whose masks come from one checkpointed random stream, whatever the model is split over (B-19)."""

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor, nn

_SEEDS: Final = 2**62
"""How many seeds there are."""
_MIXERS: Final = ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32))
"""Shift and factor of the two rounds of lowbias32; int32 arithmetic wraps."""
_LAST_SHIFT: Final = 16
_BITS: Final = 24
"""Of a random number that is compared with a probability: as many as fp32 has."""


class SeedQueue:
    """Seeds for one pass through a compiled layer: a graph takes them as an input, since it can draw none.

    They are drawn before the pass, as many as it has masks and in their order, so masks are those of eager execution.
    """

    def __init__(self, dropouts: Iterable["Dropout"]) -> None:
        self.dropouts = tuple(dropouts)
        """Those of the layer; a pass calls each once."""
        self.seeds: Tensor | None = None
        """int64 [n] on the host."""
        self.place = 0

    def fill(self) -> None:
        """Draw the seeds of the next pass."""
        count = sum(dropout.is_active for dropout in self.dropouts)
        self.seeds = torch.stack([_draw() for _ in range(count)]) if count else None
        self.place = 0

    def take(self) -> Tensor:
        """Return the next one, int64 scalar."""
        assert self.seeds is not None
        seed = self.seeds[self.place]
        self.place += 1
        return seed


class Dropout(nn.Module):
    """Zero a share of the elements while training and scale the others up; nothing in evaluation.

    Each call takes one seed from the default generator of the CPU. That generator is saved with checkpoints, put back
    by recompute, and in the same state on all processes, so resuming and recompute are exact. Processes that hold
    different parts of a tensor add `stream` to the seed; those that hold the same part do not: their masks are equal.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.stream = 0
        """Set by a backend on modules with the role DROPOUT or DROPOUT_INSIDE."""
        self.queue: SeedQueue | None = None
        """Set by a backend that compiles the layer of which this is a part."""

    @property
    def is_active(self) -> bool:
        """Return whether the next call drops something."""
        return self.training and self.probability > 0.0

    def forward(self, states: Tensor) -> Tensor:
        """Any shape to the same shape and dtype."""
        return states if (seed := self.seed()) is None else states * keep_factors(states, self.probability, seed)

    def seed(self) -> int | Tensor | None:
        """Return the seed of the next mask, a tensor in a graph; None: nothing is dropped."""
        if not self.is_active:
            return None
        seed = int(_draw()) if self.queue is None else self.queue.take()
        return seed + self.stream


def _draw() -> Tensor:
    return torch.randint(_SEEDS, (), device="cpu")


def keep_factors(like: Tensor, probability: float, seed: int | Tensor) -> Tensor:
    """A factor for each element: 0 with this probability, else what keeps the mean.

    In host memory PyTorch's generator draws it. On a device it is computed from the element's number: a compiled graph
    there has no generator, and the mask must not depend on whether there is one.
    """
    if not like.is_cpu:
        return _hashed(like, probability, seed)
    return (
        _drawn(like, probability, seed) if isinstance(seed, int) else _drawn_in_graph(like.detach(), probability, seed)
    )


def _drawn(like: Tensor, probability: float, seed: int) -> Tensor:
    generator = torch.Generator(like.device).manual_seed(seed)
    mask = torch.empty_like(like, requires_grad=False).bernoulli_(1.0 - probability, generator=generator)
    return mask / (1.0 - probability)


@torch.library.custom_op("neuron_trainer::keep_factors", mutates_args=())
def _drawn_in_graph(like: Tensor, probability: float, seed: Tensor) -> Tensor:
    """Hide from the compiler that a generator is made."""
    return _drawn(like, probability, int(seed))


@_drawn_in_graph.register_fake
def _(like: Tensor, probability: float, seed: Tensor) -> Tensor:  # noqa: ARG001
    return torch.empty_like(like, requires_grad=False)


def _hashed(like: Tensor, probability: float, seed: int | Tensor) -> Tensor:
    """Numbers of elements and the two halves of the seed, mixed by a 32-bit hash (lowbias32, C. Wellons, 2018)."""
    number = torch.arange(like.numel(), dtype=torch.int32, device=like.device)
    for half in (seed & 0x7FFFFFFF, (seed >> 31) & 0x7FFFFFFF):
        number = _mix(number + half)
    keep = (number & (2**_BITS - 1)) >= round(probability * 2**_BITS)
    return keep.to(like.dtype).view(like.shape) / (1.0 - probability)


def _mix(bits: Tensor) -> Tensor:
    for shift, factor in _MIXERS:
        bits = (bits ^ _shifted(bits, shift)) * factor
    return bits ^ _shifted(bits, _LAST_SHIFT)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """int32 shifted to the right, with zeros from the left."""
    return (bits >> by) & ((1 << (32 - by)) - 1)
