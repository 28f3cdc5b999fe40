"""An exchange of equal parts of rows among the processes of a group."""

from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed import _functional_collectives as functional


def swap(rows: Tensor, group: ProcessGroup) -> Tensor:
    """Part p of [rows, ...] to process p, whose part for this one takes its place; gradients take the same way.

    Rows: a multiple of the group's size. A collective, and its own inverse.
    """
    result: Tensor = _Swap.apply(rows, group)
    return result


class _Swap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return _swapped(rows, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _swapped(gradient, ctx.group), None


def _swapped(rows: Tensor, group: ProcessGroup) -> Tensor:
    """Functional, so that a graph may have it."""
    pending = functional.all_to_all_single(rows.contiguous(), None, None, group)
    result: Tensor = functional.wait_tensor(pending)  # type: ignore[no-untyped-call]
    return result
