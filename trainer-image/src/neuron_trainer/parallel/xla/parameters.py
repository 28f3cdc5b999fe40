"""Parameters as plain tensors that know their place: cut over tensor and expert parallelism, then over data.

Parts are equal: a dimension is cut that divides evenly, and a parameter without one is whole on each process. Unequal
parts have unequal graphs (upstream-facts.md#xla-graphs), and a device takes no empty ones.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.placement_types import Placement

from neuron_trainer.parallel.axis import Axis
from neuron_trainer.parallel.backend import LocalParameter
from neuron_trainer.parallel.parts import Cut

from .tensor_parallel import Layout


@dataclass(frozen=True, slots=True)
class Divided:
    """A division of one parameter."""

    dim: int
    axis: Axis


@dataclass(slots=True)
class XlaParameter(LocalParameter):
    """See `LocalParameter`; `leaf` is this process's part of `used`, or shares its storage."""

    used: nn.Parameter = field(kw_only=True)
    """What modules compute with and autograd gives gradients to: cut over tensor and expert parallelism."""
    is_own_storage: bool = field(kw_only=True)
    """Whether `leaf` and `used` are one tensor in memory: what is updated is what is computed with."""
    layout: Layout = field(kw_only=True)
    divisions: tuple[Divided, ...] = field(kw_only=True)
    """In the order in which they were cut; that over data parallelism, where there is one, is the last."""
    mesh: DeviceMesh | None = field(kw_only=True)
    """Of the hosts, a dimension for each division; without process groups."""
    data: Axis | None = field(kw_only=True)
    """The processes over which gradients are averaged."""
    samples: int = field(kw_only=True)
    """Over how many processes a gradient is a mean: of an expert's, more than hold it, whose tokens it has seen."""
    sharded: Divided | None = field(kw_only=True)
    """The last division, where it is over data parallelism (zero1)."""
    total: Tensor | None = None
    """The gradient of the micro-batches so far, in the dtype of accumulation."""

    def gathered(self) -> Tensor:
        """See `LocalParameter`."""
        whole = self.leaf.detach()
        for division in reversed(self.divisions):
            whole = division.axis.gather(whole, division.dim)
        return whole

    def used_part(self, whole: Tensor) -> Tensor:
        """Return what this process computes with of a whole tensor; a view. `used` of a frozen model is cut as this."""
        for division in self.divisions:
            whole = part_of(whole, division)
        return whole

    def for_checkpoint(self, local: Tensor, dims: tuple[int, ...] | None = None) -> Tensor:
        """See `LocalParameter`."""
        if self.mesh is None or dims == ():
            return local
        dims = tuple(range(len(self.shape))) if dims is None else dims
        layout = torch.empty([self.shape[dim] for dim in dims], device="meta")
        placements: list[Placement] = [
            Shard(dims.index(division.dim)) if division.dim in dims else Replicate() for division in self.divisions
        ]
        return DTensor.from_local(
            local, self.mesh, placements, run_check=False, shape=layout.shape, stride=layout.stride()
        )


def host_mesh(divisions: tuple[Divided, ...]) -> DeviceMesh | None:
    """Return the processes that share a parameter, in host memory; None where each has all of it."""
    return _mesh(tuple(division.axis.ranks for division in divisions)) if divisions else None


@lru_cache(maxsize=16)
def _mesh(axes: tuple[tuple[int, ...], ...]) -> DeviceMesh:
    """A rank is a sum over the axes, so those of all combinations follow from the lines through this process."""
    ranks = torch.full((1,) * len(axes), own := dist.get_rank())
    for dim, line in enumerate(axes):
        shape = [1] * len(axes)
        shape[dim] = len(line)
        ranks = ranks + (torch.tensor(line) - own).view(shape)
    names = tuple(f"cut-{dim}" for dim in range(len(axes)))
    return DeviceMesh("cpu", ranks, mesh_dim_names=names, _init_backend=False)


def evenly(shape: torch.Size, preferred: int, axis: Axis) -> Divided | None:
    """Return a dimension that divides evenly, if there is one: the preferred, else the first."""
    dims = [dim for dim in (preferred, *range(len(shape))) if shape[dim] % axis.size == 0]
    return Divided(dims[0], axis) if dims else None


def part_of(whole: Tensor, division: Divided) -> Tensor:
    """Return this process's part; a view."""
    length = whole.shape[division.dim] // division.axis.size
    return whole.narrow(division.dim, length * division.axis.rank, length)


def offset_of(shape: torch.Size, divisions: tuple[Divided, ...]) -> tuple[int, ...]:
    """Return where this process's part begins in the whole."""
    begins, lengths = [0] * len(shape), list(shape)
    for division in divisions:
        lengths[division.dim] //= division.axis.size
        begins[division.dim] += lengths[division.dim] * division.axis.rank
    return tuple(begins)


def cuts_of(divisions: tuple[Divided, ...]) -> tuple[Cut, ...]:
    """Return the divisions as optimizers see them."""
    return tuple(Cut(division.dim, division.axis) for division in divisions)
