"""What a language model gives where logits are not all of it."""

from typing import NamedTuple

from torch import Tensor


class Prediction(NamedTuple):
    """Of one micro-batch."""

    logits: Tensor
    """[B, S, V] in the compute dtype."""
    auxiliary: Tensor
    """Added to the loss: a scalar, fp32, already weighted."""
