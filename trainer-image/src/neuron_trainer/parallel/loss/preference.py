"""The loss of a micro-batch of pairs: an objective on the log-probabilities of whole answers (B-13).

Rows are chosen answers first, then rejected ones. A sum over an answer is made of its parts on context-parallel
processes, so that each of them has the whole row's and computes the same loss.

Sums are fp64 where the device has it: a log-probability of -2000 (a long answer) is known to 6e-5 in fp32, and the loss
sees the difference of four of them, which would depend on how a row is split.
"""

import torch
from torch import Tensor

from neuron_trainer.models.spec import Part
from neuron_trainer.objectives import Objective, Pairs
from neuron_trainer.parallel.axis import Axis
from neuron_trainer.parallel.schedule import LossValue, Targets

from .next_token import Output, count_labels, cross_entropy


class RowLogProbs:
    """Log-probability of the labels of each row that count, [b] in `dtype`."""

    def __init__(self, own: Part, context: Axis | None, dtype: torch.dtype, vocabulary: Axis | None = None) -> None:
        """`context`: the processes that have the other parts of the rows; `vocabulary`: see `cross_entropy`."""
        self._own, self._context, self._dtype, self._vocabulary = own, context, dtype, vocabulary

    def __call__(self, output: Output, targets: Targets) -> Tensor:
        """See `Loss`; a row without labels has 0."""
        logits = output[0] if isinstance(output, tuple) else output
        labels = self._own.cut(targets.labels)
        sums = -cross_entropy(logits, labels, "none", self._vocabulary).view(labels.shape).sum(dim=1, dtype=self._dtype)
        return sums if self._context is None else _summed(sums, self._context)


class PreferenceLoss:
    """See `AveragedLoss`. The mean is over pairs that have a label; the model's auxiliary loss is added to it."""

    def __init__(self, objective: Objective, rows: RowLogProbs) -> None:
        self._objective, self._rows = objective, rows
        self.metrics = objective.metrics
        self.divisor: Tensor | None = None

    def count(self, labels: Tensor) -> Tensor:
        """Pairs that count."""
        return _counts(_tokens(labels)).float().sum()

    def __call__(self, output: Output, targets: Targets) -> LossValue:
        """`targets` have the reference where the objective needs it."""
        tokens = _tokens(targets.labels)
        log_probs = self._rows(output, targets).view(2, -1).T
        losses, metrics = self._objective(Pairs(log_probs, tokens, targets.reference))
        counts = _counts(tokens)
        divisor = counts.float().sum().clamp(min=1) if self.divisor is None else self.divisor
        loss = (losses.where(counts, 0).sum() / divisor).float()
        if isinstance(output, tuple):
            loss = loss + output[1]
        return LossValue(
            loss, {name: (metrics[name].where(counts, 0).sum() / divisor).float() for name in self.metrics}
        )


def _tokens(labels: Tensor) -> Tensor:
    """Rows of labels [2n, S] to the tokens of answers, fp32 [n, 2]."""
    return count_labels(labels, 1).view(2, -1).T


def _counts(tokens: Tensor) -> Tensor:
    """Return whether a pair counts, bool [n]: those that fill a batch have no label."""
    return tokens.amax(dim=1) > 0


def _summed(parts: Tensor, axis: Axis) -> Tensor:
    """Return the sum over the processes of an axis, the same on all. Its gradient is the axis's size times that of
    a part: gradients are averaged over these processes, and the gradient of the loss is the sum of the parts'."""
    return axis.sum(parts.detach()) + axis.size * (parts - parts.detach())
