"""Sums over the parts of a tensor that several processes hold: what an optimizer with whole-tensor statistics needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .axis import Axis


@dataclass(frozen=True, slots=True)
class Cut:
    """One way in which a parameter is divided over processes."""

    dim: int
    """The dimension that is cut, counted from the first."""
    axis: Axis
    """The processes that hold the parts along it."""


Statistic = tuple[Tensor, Sequence[Cut]]
"""This process's share of a sum (any shape), and the cuts over which it is to be summed."""


def sum_over_parts(statistics: Sequence[Statistic]) -> list[Tensor]:
    """The sums over all parts, in the same shapes (a tensor without cuts as it is); the same bits on every process.

    Dtype: one for all statistics. Collectives: one all-reduce for each axis that occurs, however many
    statistics there are; none without cuts. Every process of an axis gives the same statistics in the same order.
    """
    sums = [share for share, _ in statistics]
    axes = dict.fromkeys(cut.axis for _, cuts in statistics for cut in cuts)
    for axis in axes:
        members = [n for n, (_, cuts) in enumerate(statistics) if any(cut.axis == axis for cut in cuts)]
        flat = axis.sum(torch.cat([sums[n].reshape(-1) for n in members]))
        for n, part in zip(members, torch.split(flat, [sums[n].numel() for n in members]), strict=True):
            sums[n] = part.view(sums[n].shape)
    return sums
