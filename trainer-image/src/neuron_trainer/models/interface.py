"""What every family's model takes and returns.

Where a sample has several documents a model is also given, if they matter: `positions`, int64 [B, part.length], of its
tokens, in place of those that follow from the part; `documents`, int64 [B, total], a number for each token of the whole
sample, different where tokens must not see each other.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive tokens of a sample: all of them, or a context-parallel share."""

    start: int
    """Position of the first one."""
    length: int
    total: int
    """Tokens of the whole sample."""

    @classmethod
    def whole(cls, length: int) -> "Part":
        """Every token."""
        return cls(0, length, length)


class Prediction(NamedTuple):
    """Of one micro-batch."""

    logits: Tensor
    """[B, S, V] in the compute dtype; of a part of the model, the states [B, S, H] for the next part."""
    auxiliary: Tensor
    """Added to the loss: a scalar, fp32, already weighted; of a part of the model, what the next part needs for it."""
