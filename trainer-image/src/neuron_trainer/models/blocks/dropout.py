"""Dropout whose masks come from one checkpointed random stream, whatever the model is split over (B-19)."""

from typing import Final

import torch
from torch import Tensor, nn

from .seeds import Seeded, hashed

_BITS: Final = 24
"""Of a random number that is compared with a probability: as many as fp32 has."""


class Dropout(Seeded, nn.Module):
    """Zero a share of the elements while training and scale the others up; nothing in evaluation.

    Seeds are those of one stream (`Seeded`), so resuming and recompute are exact. Processes that hold different parts
    of a tensor add `stream` to the seed; those that hold the same part do not: their masks are equal.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.stream = 0
        """Set by a backend on modules with the role DROPOUT or DROPOUT_INSIDE."""

    @property
    def is_active(self) -> bool:
        """See `Seeded`: whether the next call drops something."""
        return self.training and self.probability > 0.0

    def forward(self, states: Tensor) -> Tensor:
        """Any shape to the same shape and dtype."""
        return states if (seed := self.seed()) is None else states * keep_factors(states, self.probability, seed)

    def seed(self) -> int | Tensor | None:
        """Return the seed of the next mask, a tensor in a graph; None: nothing is dropped."""
        return self.next_seed() if self.is_active else None


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
    bits = hashed(torch.arange(like.numel(), dtype=torch.int32, device=like.device), seed)
    keep = (bits & (2**_BITS - 1)) >= round(probability * 2**_BITS)
    return keep.to(like.dtype).view(like.shape) / (1.0 - probability)
