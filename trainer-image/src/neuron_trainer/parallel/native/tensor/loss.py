"""The loss of a micro-batch (B-4, "HF ours"): next-token cross-entropy over the labels that count."""

from typing import Protocol

from torch import Tensor

from neuron_trainer.models.interface import Part, Prediction
from neuron_trainer.parallel.native.context import context_parallel
from neuron_trainer.parallel.native.schedule import Loss, LossValue, Targets

from .cross_entropy import IGNORED_LABEL, cross_entropy

Output = Tensor | Prediction | tuple[Tensor, Tensor]
"""Logits [b, own.length, V], split over the vocabulary or whole, with the model's auxiliary loss if it has one."""


class AveragedLoss(Loss, Protocol):
    """This process's share of the loss: the mean over the processes that share the samples is the loss."""

    divisor: Tensor | None
    """fp32 scalar: what a micro-batch's sum is divided by, in place of its own count."""

    def count(self, labels: Tensor) -> Tensor:
        """Return what the mean is taken over, int64 scalar; `labels` int64 [b, S] of whole samples."""
        ...


class CrossEntropy:
    """See `AveragedLoss`. The mean is over labels; no label that counts: 0."""

    metrics: tuple[str, ...] = ()

    def __init__(self, own: Part) -> None:
        self._own = own
        self.divisor: Tensor | None = None

    def count(self, labels: Tensor) -> Tensor:
        """Labels that count."""
        return (labels != IGNORED_LABEL).sum()

    def __call__(self, output: Output, targets: Targets) -> LossValue:
        """`labels` are cut here, so that the count is that of the whole samples."""
        logits, auxiliary = output if isinstance(output, tuple) else (output, None)
        labels = targets.labels
        divisor = self.count(labels).clamp(min=1) if self.divisor is None else self.divisor
        total = cross_entropy(logits, context_parallel.cut(labels, self._own), "sum")
        processes = self._own.total // self._own.length
        mean = total * processes / divisor if processes > 1 else total / divisor
        return LossValue(mean if auxiliary is None else mean + auxiliary)
