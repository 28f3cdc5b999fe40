"""What a language model gives where logits are not all of it."""

from typing import NamedTuple

from torch import Tensor


class Prediction(NamedTuple):
    """Of one micro-batch."""

    logits: Tensor
    """[B, S, V] in the compute dtype; of a part of the model, the states [B, S, H] for the next part."""
    auxiliary: Tensor
    """Added to the loss: a scalar, fp32, already weighted; of a part of the model, what the next part needs for it."""
