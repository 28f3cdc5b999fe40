"""Expert parallelism: each process of a group has other experts, and tokens go to where theirs are (B-12).

A token's row is sent once for each of its experts, and comes back computed: two all-to-alls, and two more in the
backward pass. Which experts a token goes to, and what is beyond their capacity, is each process's own affair and does
not depend on the group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh

from neuron_trainer.models.blocks.moe.experts import Compute, Experts
from neuron_trainer.parallel.native.tensor import experts


def apply(module: nn.Module, mesh: DeviceMesh) -> None:
    """Split the experts of every layer over the first dimension of `mesh`, and each over the second (works on meta)."""
    for child in module.modules():
        if isinstance(child, Experts):
            experts.split(child, mesh)
            child.exchange = Exchange(mesh.get_group("expert"))


@dataclass(frozen=True, slots=True)
class Exchange:
    """Rows for the experts of all processes of the group, computed where they are. A collective."""

    group: ProcessGroup

    def __call__(self, rows: Tensor, counts: Sequence[int], compute: Compute) -> Tensor:
        """[rows, H], sorted by expert, to the same shape; `counts` of all E experts."""
        sent = torch.tensor(counts, device=rows.device).view(self.group.size(), -1)
        received = torch.empty_like(sent)
        dist.all_to_all_single(received, sent, group=self.group)
        leave, arrive = sent.sum(dim=1).tolist(), received.sum(dim=1).tolist()
        arrived: Tensor = _Swap.apply(rows, leave, arrive, self.group)
        # What arrives is sorted by process, and by expert within what is from one process.
        own = torch.arange(received.shape[1], device=rows.device).repeat(self.group.size())
        order = own.repeat_interleave(received.flatten()).argsort(stable=True)
        computed = compute(arrived.index_select(0, order), received.sum(dim=0).tolist())
        result: Tensor = _Swap.apply(computed.index_select(0, order.argsort()), arrive, leave, self.group)
        return result


class _Swap(torch.autograd.Function):
    """All-to-all of rows; its gradients take the way back."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, leave: list[int], arrive: list[int], group: ProcessGroup) -> Tensor:
        ctx.leave, ctx.arrive, ctx.group = leave, arrive, group
        return _swap(rows, leave, arrive, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _swap(gradient, ctx.arrive, ctx.leave, ctx.group), None, None, None


def _swap(rows: Tensor, leave: list[int], arrive: list[int], group: ProcessGroup) -> Tensor:
    received = rows.new_empty(sum(arrive), *rows.shape[1:])
    dist.all_to_all_single(received, rows.contiguous(), arrive, leave, group=group)
    return received
