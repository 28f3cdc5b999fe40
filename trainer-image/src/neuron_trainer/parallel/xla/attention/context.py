"""Context parallelism: each process has a part of every sample, and is given the keys and values of all parts.

The graph is the same on each process: what a query sees follows from a mask that is made of the process's place, not
from which parts it skips (as ring attention does, `native/context`).
"""

from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from neuron_trainer.models.blocks.attention import AttentionMaskBuilder, CoreAttention
from neuron_trainer.models.blocks.dropout import Dropout
from neuron_trainer.models.blocks.moe.router import Router
from neuron_trainer.models.spec import Part
from neuron_trainer.parallel.axis import Axis
from neuron_trainer.parallel.xla.boundaries import SEQUENCE, gather_sequence

_STREAM: Final = 1_000_003
"""Between the random streams of processes: far from those of tensor parallelism, to which it is added."""


def apply(module: nn.Module, axis: Axis) -> None:
    """Attention and routers see whole samples; all else works on each token alone."""
    for child in module.modules():
        if isinstance(child, Dropout):  # each process has other tokens
            child.stream += _STREAM * axis.rank
        if isinstance(child, CoreAttention):
            child.kernel = partial(_attend, axis, child)
        if isinstance(child, AttentionMaskBuilder):
            child.is_left_to_kernel = True
        if isinstance(child, Router):
            child.samples = WholeSamples(axis)


@dataclass(frozen=True, slots=True)
class AxisPart(Part):
    """A part that is cut by the process's place as a tensor."""

    axis: Axis

    def cut(self, rows: Tensor) -> Tensor:
        """See `Part`."""
        return self.axis.part(rows, SEQUENCE)


def part_of(total: int, axis: Axis | None) -> Part:
    """Return this process's part of a sample of so many tokens, a multiple of the axis's size."""
    if axis is None:
        return Part.whole(total)
    length = total // axis.size
    return AxisPart(axis.rank * length, length, total, axis)


@dataclass(frozen=True, slots=True)
class WholeSamples:
    """See `Samples` of the router. Logits are few: E numbers a token."""

    axis: Axis

    def gather(self, logits: Tensor) -> Tensor:
        """Every process computes with the whole, so the gradients of a part are summed."""
        return gather_sequence(logits, self.axis)

    def own(self, of_whole: Tensor) -> Tensor:
        """The rest's gradients come from the other processes."""
        return self.axis.part(of_whole, SEQUENCE)


def _attend(
    axis: Axis, core: CoreAttention, query: Tensor, key: Tensor, value: Tensor, documents: Tensor | None
) -> Tensor:
    """See `Kernel`: the own queries [B, heads, S/CP, D] on the keys of the whole samples."""
    key, value = (gather_sequence(states.transpose(1, 2), axis).transpose(1, 2) for states in (key, value))
    mask = _mask(axis, query.shape[2], core.window, documents, query.device)
    return core.attend(query, key, value, mask)


def _mask(axis: Axis, length: int, window: int | None, documents: Tensor | None, device: torch.device) -> Tensor:
    """Return which keys the own queries see, bool [S/CP, S] or [B, 1, S/CP, S]."""
    places = torch.arange(length * axis.size, device=device)
    own = places[:length] + axis.first(length, device)
    ages = own[:, None] - places
    is_seen = (ages >= 0) if window is None else (ages >= 0) & (ages < window)
    if documents is None:
        return is_seen
    return is_seen & (axis.part(documents, 1)[:, None, :, None] == documents[:, None, None, :])
