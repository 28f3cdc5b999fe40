"""An exchange of equal parts of rows among the processes of a group."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup


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
        received = torch.empty_like(rows, memory_format=torch.contiguous_format)
        dist.all_to_all_single(received, rows.contiguous(), group=group)
        return received

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Swap.forward(ctx, gradient, ctx.group), None
