"""Odds-ratio preference optimisation: Hong et al. 2024 (arXiv:2403.07691), equations 6 and 7.

lc, lr    mean log-probability per answer token
log odds = (lc - lr) - (log(1 - e^lc) - log(1 - e^lr))
loss     = -lc - beta log sigmoid(log odds)
"""

import torch.nn.functional as F  # noqa: N812

from .log_odds import log_odds
from .pairs import REWARDS, Pairs, PairValues, rewards


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
