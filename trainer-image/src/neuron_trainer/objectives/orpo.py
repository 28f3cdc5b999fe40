"""Odds-ratio preference optimisation: Hong et al. 2024 (arXiv:2403.07691), equations 6 and 7.

lc, lr    mean log-probability per answer token
log odds = (lc - lr) - (log(1 - e^lc) - log(1 - e^lr))
loss     = -lc - beta log sigmoid(log odds)
"""

import math
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from .pairs import REWARDS, Pairs, PairValues, rewards

_SURE: Final = -9e-10
"""Log-probabilities nearer to 0 count as this one. fp32 rounds them to 0, where the odds are infinite."""


class Orpo:
    """See `Objective`."""

    metrics: tuple[str, ...] = (*REWARDS, "nll", "log_odds")
    has_reference = False

    def __init__(self, beta: float) -> None:
        self._beta = beta

    def __call__(self, pairs: Pairs) -> PairValues:
        """See `Objective`."""
        means = pairs.mean_log_probs
        chosen, rejected = means.unbind(dim=1)
        odds = log_odds(chosen) - log_odds(rejected)
        losses = -chosen - self._beta * F.logsigmoid(odds)
        further = {"nll": -chosen.detach(), "log_odds": odds.detach()}
        return PairValues(losses, rewards(self._beta * means) | further)


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
