"""The loss of a micro-batch (B-4, "HF ours"): next-token cross-entropy over the labels that count.

Logits are whole, or split over the vocabulary (B-6). Split logits are never gathered: the processes exchange three
numbers of a token, its largest logit, its sum of exponentials and the logit of its label. No shape depends on a label,
and nothing is written by a mask.
"""

from typing import Any, Final, Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard

from neuron_trainer import accelerators
from neuron_trainer.models.spec import Part, Prediction
from neuron_trainer.parallel.axis import Axis, GroupAxis
from neuron_trainer.parallel.schedule import Loss, LossValue, Targets

IGNORED_LABEL: Final = -100


def cross_entropy(
    logits: Tensor, labels: Tensor, reduction: Literal["none", "sum"], vocabulary: Axis | None = None
) -> Tensor:
    """Logits [b, S, V] and labels [b, S] to fp32: [b * S], 0 where a label is ignored, or their sum.

    Computed in fp32; PyTorch's own takes labels of int64 alone, which not all devices have. With split logits, which
    `vocabulary` or a DTensor says, a collective, whose result is the same on every process.
    """
    if isinstance(logits, DTensor):
        assert logits.placements == (Shard(logits.ndim - 1),)
        vocabulary = GroupAxis(logits.device_mesh.get_group())
        logits = logits.to_local()
    if vocabulary is None and labels.dtype == torch.int64:
        wide = logits.float().flatten(0, 1)
        return F.cross_entropy(wide, labels.flatten(), ignore_index=IGNORED_LABEL, reduction=reduction)
    local = logits.flatten(0, 1)
    has_gather = accelerators.get(local.device.type).has_gather
    first = 0 if vocabulary is None else vocabulary.first(local.shape[1], local.device)
    part = _Part(first, vocabulary, has_gather)
    each: Tensor = _SplitCrossEntropy.apply(local, labels.flatten(), part)
    return each.sum() if reduction == "sum" else each


class _Part(NamedTuple):
    """Of the vocabulary."""

    first: int | Tensor
    """Entry."""
    axis: Axis | None
    """The processes that have the others; None: it is whole."""
    has_gather: bool = True
    """See `Accelerator`; without, the label's entry is the one that compares equal."""


class _SplitCrossEntropy(torch.autograd.Function):
    """log(sum_v exp(x_v - m)) - (x_label - m) with m = max_v x_v; its gradient is softmax(x) - 1 at the label."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, part: _Part) -> Tensor:
        """[T, V / TP] and [T] to fp32 [T]. All-reduces: the maxima, and both sums together."""
        wide = logits.float()
        largest = wide.amax(dim=1) if part.axis is None else part.axis.max(wide.amax(dim=1))
        shifted = wide - largest.unsqueeze(1)
        places = labels - part.first
        is_own = (places >= 0) & (places < shifted.shape[1])
        if part.has_gather:
            places = (places * is_own).unsqueeze(1)
            chosen = torch.where(is_own, shifted.gather(1, places).squeeze(1), 0.0)
        else:
            chosen = torch.where(_is_label(shifted, places), shifted, 0.0).sum(dim=1)
        exponentials = shifted.exp_()
        sums = torch.stack((exponentials.sum(dim=1), chosen))
        total, chosen = (sums if part.axis is None else part.axis.sum(sums)).unbind()
        counts = labels != IGNORED_LABEL
        ctx.save_for_backward(exponentials.div_(total.unsqueeze(1)), places, is_own, counts)
        ctx.dtype, ctx.has_gather = logits.dtype, part.has_gather
        return torch.where(counts, total.log() - chosen, 0.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return those of this process's logits, in their dtype."""
        probabilities, places, is_own, counts = ctx.saved_tensors
        gradient = torch.where(counts, gradient, 0.0)
        of_logits = probabilities * gradient.unsqueeze(1)
        if ctx.has_gather:
            of_logits.scatter_add_(1, places, -(gradient * is_own).unsqueeze(1))
        else:
            of_logits = of_logits - torch.where(_is_label(of_logits, places), gradient.unsqueeze(1), 0.0)
        return of_logits.to(ctx.dtype), None, None


def _is_label(logits: Tensor, places: Tensor) -> Tensor:
    """Return whether an entry is the label's, bool [T, V / TP], from its place [T] in this part; none is if outside."""
    return torch.arange(logits.shape[1], device=logits.device) == places.unsqueeze(1)


def count_labels(labels: Tensor, dim: int) -> Tensor:
    """Return how many labels count, in fp32, which is exact below 2^24: sums of bool are known to be wrong on a
    NeuronCore."""
    return (labels != IGNORED_LABEL).float().sum(dim=dim)


Output = Tensor | Prediction | tuple[Tensor, Tensor]
"""Logits [b, own.length, V], split over the vocabulary or whole, with the model's auxiliary loss if it has one."""


class AveragedLoss(Loss, Protocol):
    """This process's share of the loss: the mean over the processes that share the samples is the loss."""

    divisor: Tensor | None
    """fp32 scalar: what a micro-batch's sum is divided by, in place of its own count."""

    def count(self, labels: Tensor) -> Tensor:
        """Return what the mean is taken over, fp32 scalar; `labels` [b, S] of whole samples."""
        ...


class CrossEntropy:
    """See `AveragedLoss`. The mean is over labels; no label that counts: 0."""

    metrics: tuple[str, ...] = ()

    def __init__(self, own: Part, vocabulary: Axis | None = None) -> None:
        self._own, self._vocabulary = own, vocabulary
        self.divisor: Tensor | None = None

    def count(self, labels: Tensor) -> Tensor:
        """Labels that count."""
        return count_labels(labels.flatten(), 0)

    def __call__(self, output: Output, targets: Targets) -> LossValue:
        """`labels` are cut here, so that the count is that of the whole samples."""
        logits, auxiliary = output if isinstance(output, tuple) else (output, None)
        labels = targets.labels
        divisor = self.count(labels).clamp(min=1) if self.divisor is None else self.divisor
        total = cross_entropy(logits, self._own.cut(labels), "sum", self._vocabulary)
        processes = self._own.total // self._own.length
        mean = total * processes / divisor if processes > 1 else total / divisor
        return LossValue(mean if auxiliary is None else mean + auxiliary)
