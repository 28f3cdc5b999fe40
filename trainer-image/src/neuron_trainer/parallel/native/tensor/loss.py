"""The loss of a micro-batch (B-4, "HF ours"): next-token cross-entropy over the labels that count."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.distributed.tensor import DTensor

from neuron_trainer.models.interface import Part, Prediction
from neuron_trainer.parallel.native.context import context_parallel

IGNORED_LABEL: Final = -100


def count(labels: Tensor) -> Tensor:
    """Labels that count, int64 scalar."""
    return (labels != IGNORED_LABEL).sum()


class Loss:
    """This process's share of the loss, fp32 scalar: the mean over the processes that share the samples is the loss."""

    def __init__(self, own: Part) -> None:
        self._own = own
        self._divisor: Tensor | None = None

    @contextmanager
    def divided_by(self, divisor: Tensor | None) -> Iterator[None]:
        """In this scope a micro-batch's sum is divided by this number, a scalar, in place of its own labels' count."""
        self._divisor = divisor
        try:
            yield
        finally:
            self._divisor = None

    def __call__(self, output: Tensor | Prediction | tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
        """Logits [b, own.length, V], split over the vocabulary or whole, with the model's auxiliary loss if it has one;
        `labels` int64 [b, S] of whole samples, the target of the output at t in place t; they are cut here, so that the
        count is that of the whole samples. -100 does not count; no valid label: 0.
        """
        logits, auxiliary = output if isinstance(output, tuple) else (output, None)
        divisor = count(labels).clamp(min=1) if self._divisor is None else self._divisor
        wanted = context_parallel.cut(labels, self._own).flatten()
        total = F.cross_entropy(logits.float().flatten(0, 1), wanted, ignore_index=IGNORED_LABEL, reduction="sum")
        if isinstance(total, DTensor):
            total = total.full_tensor()
        processes = self._own.total // self._own.length
        mean = total * processes / divisor if processes > 1 else total / divisor
        return mean if auxiliary is None else mean + auxiliary
