"""Sums over tensor-parallel processes inside layers, in the dtype of `parallel_layers_reduce_dtype` (B-3)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate
from torch.distributed.tensor.placement_types import Placement


@dataclass(frozen=True, slots=True)
class Reduction:
    """All-gathers, which add nothing up, are in the dtype of the tensor."""

    dtype: torch.dtype | None = None
    """None: that of what is summed."""

    def sum(self, parts: DTensor, placement: Placement) -> Tensor:
        """A partial sum, whole or split over the sequence, this process's part; one all-reduce or reduce-scatter.

        The result has the dtype of the parts.
        """
        dtype = parts.dtype
        return parts.redistribute(placements=[placement], forward_dtype=self.dtype).to_local().to(dtype)

    def enter(self, states: DTensor) -> DTensor:
        """Whole states on each process, whose gradients are parts of a sum.

        Split states are gathered; in the backward pass there is one all-reduce or reduce-scatter.
        """
        return states.redistribute(placements=[Replicate()], backward_dtype=self.dtype)


def with_partial_gradient(tensor: Tensor, mesh: DeviceMesh) -> Tensor:
    """Return the values that all processes have; each computes a part of their gradient, and the parts are summed."""
    if not isinstance(tensor, DTensor):
        tensor = DTensor.from_local(tensor, mesh, [Replicate()], run_check=False)
    return tensor.to_local(grad_placements=[Partial()])
