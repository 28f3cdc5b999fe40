"""A micro-batch of pairs as an objective sees it, and what it returns."""

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from torch import Tensor


class Pairs(NamedTuple):
    """Chosen answers in column 0, rejected ones in column 1; `n` pairs.

    What follows from `log_probs` has its dtype: fp64, or fp32 where the device has no fp64."""

    log_probs: Tensor
    """[n, 2]: log-probability of each answer, the sum over its tokens."""
    tokens: Tensor
    """fp32 [n, 2]: tokens of each answer."""
    reference: Tensor | None = None
    """[n, 2]: `log_probs` of the reference model; None where the objective has none."""

    @property
    def mean_log_probs(self) -> Tensor:
        """[n, 2], per token of the answer; an empty answer counts as one token."""
        return self.log_probs / self.tokens.clamp(min=1)


class PairValues(NamedTuple):
    """Of each pair."""

    losses: Tensor
    """[n]."""
    metrics: Mapping[str, Tensor]
    """[n] each, without gradients; the names are the objective's `metrics`."""


class Objective(Protocol):
    """A method of preference training: a pure function of pairs."""

    metrics: tuple[str, ...]
    """Names of `neuron_api.metrics`."""
    has_reference: bool
    """Whether `Pairs.reference` is needed."""

    def __call__(self, pairs: Pairs) -> PairValues:
        """Return the loss and the metrics of each pair."""
        ...


REWARDS: Final = ("chosen_rewards", "rejected_rewards", "rewards_margin", "rewards_accuracy")


def rewards(values: Tensor) -> dict[str, Tensor]:
    """Rewards [n, 2] as metrics; equal ones are not accurate."""
    chosen, rejected = values.detach().unbind(dim=1)
    return dict(zip(REWARDS, (chosen, rejected, chosen - rejected, (chosen > rejected).to(values.dtype)), strict=True))
