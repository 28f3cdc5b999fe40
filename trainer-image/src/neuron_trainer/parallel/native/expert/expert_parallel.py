"""Expert parallelism: each process of a group has other experts, and tokens go to where theirs are (B-12).

A token's row is sent once for each of its experts, and comes back computed: two all-to-alls, and two more in the
backward pass. Each process is sent equally many rows, some of them empty: as many as there could be. Which experts a
token goes to, and what is beyond their capacity, is each process's own affair and does not depend on the group.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh

from neuron_trainer.models.blocks.moe.blocked import blocked
from neuron_trainer.models.blocks.moe.experts import Compute, Experts
from neuron_trainer.models.blocks.moe.products import Rows
from neuron_trainer.models.blocks.moe.slots import equal_parts
from neuron_trainer.parallel.native.tensor import experts

from .swap import swap


def apply(module: nn.Module, mesh: DeviceMesh) -> None:
    """Split the experts of every layer over the first dimension of `mesh`, and each over the second (works on meta)."""
    for child in module.modules():
        if isinstance(child, Experts):
            experts.split(child, mesh)
            child.exchange = Exchange(mesh.get_group("expert"))


def compute_in_blocks(module: nn.Module) -> None:
    """Compute experts as a device can whose host does not know how many rows each has."""
    for child in module.modules():
        if isinstance(child, Experts):
            child.product = blocked


@dataclass(frozen=True, slots=True)
class Exchange:
    """Rows for the experts of all processes of the group, computed where they are. A collective."""

    group: ProcessGroup

    def __call__(self, tokens: Tensor, rows: Rows, compute: Compute) -> Tensor:
        """See `Exchange` of the experts."""
        size = self.group.size()
        own = rows.count // size
        top_k = len(rows.experts) // len(tokens)
        # A token goes to an expert once, and no expert has more than `limit`.
        room = min(own * rows.limit, len(tokens) * min(top_k, own))
        slots = equal_parts(rows.experts.div(own, rounding_mode="floor"), size, room)
        assert slots.is_filled is not None
        numbers = torch.where(slots.is_filled, rows.experts.index_select(0, slots.row) % own, own)
        arrived = swap(slots.spread(tokens), self.group)
        experts_of_arrived = swap(numbers.to(torch.int32), self.group).long()
        computed = compute(arrived, Rows(experts_of_arrived, own, size * rows.limit, is_exact=False))
        return slots.collect(swap(computed, self.group))
