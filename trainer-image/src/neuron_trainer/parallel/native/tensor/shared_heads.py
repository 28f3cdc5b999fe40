"""Key and value projections with fewer heads than processes (B-6, K/V replication).

Every process keeps the whole weight and computes the heads that its queries read; with r copies of each head, process
t of TP reads the heads `v // r` for the v of its part of kv x r. A gradient is the sum over the processes, so that all
keep one weight, and a checkpoint has it once, whatever r was. Upstream keeps r copies of a part of the weight instead,
and adds up their gradients; here the weight is whole because it is small beside the queries', which are split.
"""

from dataclasses import dataclass
from types import MethodType

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, distribute_module
from torch.distributed.tensor.parallel import ParallelStyle

from neuron_api.derive import sharding

from .reduction import with_partial_gradient


class SharedHeads(ParallelStyle):
    """For a linear to `heads` heads, each copied `copies` times over the processes; heads x copies % TP == 0."""

    def __init__(self, heads: int, copies: int) -> None:
        self._heads, self._copies = heads, copies

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        assert isinstance(module, nn.Linear)
        distribute_module(module, device_mesh)
        own = sharding.heads_of(device_mesh.get_local_rank(), device_mesh.size(), self._heads, self._copies)
        holder: nn.Module = module
        holder.own_heads = OwnHeads(device_mesh, self._heads, tuple(own))  # type: ignore[assignment]  # not a module
        holder.forward = MethodType(_forward, module)
        return module


def own_heads(linear: nn.Module) -> "OwnHeads | None":
    """Return the heads that such a linear computes; None for another module."""
    heads = getattr(linear, "own_heads", None)
    return heads if isinstance(heads, OwnHeads) else None


def _forward(linear: nn.Linear, states: Tensor) -> Tensor:
    """[..., in], whole, to [..., own heads x head size]."""
    heads = own_heads(linear)
    assert heads is not None
    bias = None if linear.bias is None else heads.rows(linear.bias)
    return F.linear(with_partial_gradient(states, heads.mesh), heads.rows(linear.weight), bias)


@dataclass(frozen=True, slots=True)
class OwnHeads:
    """Which heads of such a linear this process computes."""

    mesh: DeviceMesh
    heads: int
    """Of the whole weight."""
    own: tuple[int, ...]

    def rows(self, parameter: Tensor) -> Tensor:
        """Return the rows of the own heads, [heads x head size, ...] to [own heads x head size, ...]."""
        assert isinstance(parameter, DTensor)
        assert parameter.placements == (Replicate(),)
        whole = parameter.to_local(grad_placements=[Partial()])
        by_head = whole.view(self.heads, -1, *whole.shape[1:])
        # Slices, and no list as an index: of that a tensor is made on the host, and copied to the device, in each call.
        return torch.cat([by_head[head : head + 1] for head in self.own]).flatten(0, 1)
