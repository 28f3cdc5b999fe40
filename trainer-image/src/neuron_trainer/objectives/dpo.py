"""Direct preference optimisation: Rafailov et al. 2023 (arXiv:2305.18290), equation 7; and two other losses on the same
log-ratios.

    h = (log p(chosen) - log p_ref(chosen)) - (log p(rejected) - log p_ref(rejected))
    sigmoid   -log sigmoid(beta h)
    hinge     max(0, 1 - beta h)                            (SLiC: Zhao et al. 2023, arXiv:2305.10425)
    ipo       (h - 1 / (2 beta))^2, log-ratios per token    (Azar et al. 2023, arXiv:2310.12036, equation 17)

The paper of IPO does not say that log-probabilities are averaged over the tokens of an answer. Its authors do so in
what they report, and TRL follows them: with sums the target 1 / (2 beta) would mean another thing for each length.
Rewards are those of sums with each loss, so that runs can be compared.
"""

from typing import Literal

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from .pairs import REWARDS, Pairs, PairValues, rewards

LossType = Literal["sigmoid", "hinge", "ipo"]


class Dpo:
    """See `Objective`."""

    metrics: tuple[str, ...] = REWARDS
    has_reference = True

    def __init__(self, beta: float, loss: LossType = "sigmoid") -> None:
        self._beta, self._loss = beta, loss

    def __call__(self, pairs: Pairs) -> PairValues:
        """See `Objective`."""
        assert pairs.reference is not None
        ratios = pairs.log_probs - pairs.reference
        return PairValues(self._losses(ratios, pairs.tokens), rewards(self._beta * ratios))

    def _losses(self, ratios: Tensor, tokens: Tensor) -> Tensor:
        """Log-ratios [n, 2] to losses [n]."""
        match self._loss:
            case "sigmoid":
                return -F.logsigmoid(self._beta * _difference(ratios))
            case "hinge":
                return F.relu(1 - self._beta * _difference(ratios))
            case "ipo":
                return (_difference(ratios / tokens.clamp(min=1)) - 1 / (2 * self._beta)) ** 2


def _difference(values: Tensor) -> Tensor:
    return values[:, 0] - values[:, 1]
