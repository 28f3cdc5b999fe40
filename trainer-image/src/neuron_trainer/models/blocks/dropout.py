"""Dropout whose masks come from one checkpointed random stream, whatever the model is split over (B-19)."""

import torch
from torch import Tensor, nn


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

    def forward(self, states: Tensor) -> Tensor:
        """Any shape to the same shape and dtype."""
        return states if (seed := self.seed()) is None else states * keep_factors(states, self.probability, seed)

    def seed(self) -> int | None:
        """Return the seed of the next mask; None: nothing is dropped."""
        if not self.training or self.probability == 0.0:
            return None
        return int(torch.randint(2**62, (), device="cpu")) + self.stream


def keep_factors(like: Tensor, probability: float, seed: int) -> Tensor:
    """A factor for each element: 0 with this probability, else what keeps the mean."""
    generator = torch.Generator(like.device).manual_seed(seed)
    mask = torch.empty_like(like, requires_grad=False).bernoulli_(1.0 - probability, generator=generator)
    return mask / (1.0 - probability)
