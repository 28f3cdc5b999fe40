"""The loss of a micro-batch (B-4, "HF ours"): mean next-token cross-entropy over the labels that count."""

from typing import Final

import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.distributed.tensor import DTensor

from neuron_trainer.models.prediction import Prediction
from neuron_trainer.models.sequence import Part

from . import context_parallel

IGNORED_LABEL: Final = -100


def share(output: Tensor | Prediction | tuple[Tensor, Tensor], labels: Tensor, own: Part) -> Tensor:
    """This process's share of the loss, fp32 scalar: the mean over the processes that share the samples is the loss.

    Logits [b, own.length, V], split over the vocabulary or whole, with the model's auxiliary loss if it has one;
    `labels` int64 [b, S] of whole samples, the target of the output at t in place t; they are cut here, so that the
    count is that of the whole samples. -100 does not count; no valid label: 0.
    """
    logits, auxiliary = output if isinstance(output, tuple) else (output, None)
    count = (labels != IGNORED_LABEL).sum().clamp(min=1)
    wanted = context_parallel.cut(labels, own).flatten()
    total = F.cross_entropy(logits.float().flatten(0, 1), wanted, ignore_index=IGNORED_LABEL, reduction="sum")
    if isinstance(total, DTensor):
        total = total.full_tensor()
    processes = own.total // own.length
    mean = total * processes / count if processes > 1 else total / count
    return mean if auxiliary is None else mean + auxiliary
