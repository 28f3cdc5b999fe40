"""log(p / (1 - p)) of a log-probability, finite for a token that is sure."""

import math
from typing import Final

import torch
from torch import Tensor

_SURE: Final = -9e-10
"""Log-probabilities nearer to 0 count as this one. fp32 rounds them to 0, where the odds are infinite."""


def log_odds(log_probs: Tensor) -> Tensor:
    """Return x - log(1 - e^x) of x <= 0, any shape, in its dtype."""
    clamped = log_probs.clamp(max=_SURE)
    return clamped - log1mexp(clamped)


def log1mexp(values: Tensor) -> Tensor:
    """Return log(1 - e^x) of x < 0, precise over the whole range (Mächler 2012, "Accurately computing
    log(1 - exp(-|a|))"): log(-expm1(x)) near 0, log1p(-e^x) below -log 2.

    The branch that is not used is given a harmless number: an infinite derivative times 0 would be NaN.
    """
    is_near = values > -math.log(2)
    near = torch.log(-torch.expm1(torch.where(is_near, values, -1.0)))
    far = torch.log1p(-torch.exp(torch.where(is_near, -1.0, values)))
    return torch.where(is_near, near, far)
