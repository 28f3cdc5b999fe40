"""One dimension of the mesh of processes, and the collectives over it.

What is computed with an axis is the same text whatever executes it: `GroupAxis` is PyTorch's process groups,
`ReplicaAxis` in `xla/replicas.py` is that of lazy devices. No operation writes what it is given.
"""

from dataclasses import dataclass
from typing import Final, Literal, Protocol

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed import _functional_collectives as functional

from . import hosts

_all_gather: Final = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter: Final = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
"""Torch 2.14 has other names, and warns of those that torch 2.9 has."""


class Axis(Protocol):
    """Processes that hold different parts of something. Each operation but `part` and `first` is a collective."""

    @property
    def size(self) -> int:
        """Return how many processes there are."""
        ...

    @property
    def rank(self) -> int:
        """Return this process's place among them: for what is decided once. In a step ask `part` and `first`."""
        ...

    @property
    def ranks(self) -> tuple[int, ...]:
        """Return the processes' ranks among those of the run, in their order."""
        ...

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over processes, in the dtype of the values; the same bits on each."""
        ...

    def max(self, values: Tensor) -> Tensor:
        """Return the maximum over processes."""
        ...

    def gather(self, parts: Tensor, dim: int) -> Tensor:
        """Return the parts of all processes, one after the other along a dimension."""
        ...

    def scatter(self, values: Tensor, dim: int) -> Tensor:
        """Return this process's part, along a dimension, of the sum over processes."""
        ...

    def swap(self, rows: Tensor) -> Tensor:
        """Part p of [rows, ...] to process p, whose part for this one takes its place; its own inverse."""
        ...

    def part(self, values: Tensor, dim: int) -> Tensor:
        """Return this process's part of what all have, along a dimension that divides evenly."""
        ...

    def first(self, length: int, device: torch.device) -> int | Tensor:
        """Return where this process's part begins if each has so many; a tensor where graphs must be equal."""
        ...


@dataclass(frozen=True, slots=True)
class GroupAxis:
    """See `Axis`; sums, maxima and exchanges are functional, so that a graph may have them."""

    group: ProcessGroup

    @property
    def size(self) -> int:
        """See `Axis`."""
        return self.group.size()

    @property
    def rank(self) -> int:
        """See `Axis`."""
        return self.group.rank()

    @property
    def ranks(self) -> tuple[int, ...]:
        """See `Axis`."""
        return tuple(dist.get_process_group_ranks(self.group))

    def sum(self, values: Tensor) -> Tensor:
        """See `Axis`."""
        return self._reduced(values, "sum")

    def max(self, values: Tensor) -> Tensor:
        """See `Axis`."""
        return self._reduced(values, "max")

    def _reduced(self, values: Tensor, kind: Literal["sum", "max"]) -> Tensor:
        return hosts.wait_for(functional.all_reduce(values.contiguous(), kind, self.group))

    def gather(self, parts: Tensor, dim: int) -> Tensor:
        """See `Axis`."""
        own = parts.movedim(dim, 0).contiguous()
        every = own.new_empty(self.size * len(own), *own.shape[1:])
        _all_gather(every, own, group=self.group)
        # Memory of its own: whoever saves it can be recognised (xla/boundaries.py).
        return every.movedim(0, dim).clone(memory_format=torch.contiguous_format) if dim else every

    def scatter(self, values: Tensor, dim: int) -> Tensor:
        """See `Axis`."""
        every = values.movedim(dim, 0).contiguous()
        own = every.new_empty(len(every) // self.size, *every.shape[1:])
        _reduce_scatter(own, every, group=self.group)
        return own.movedim(0, dim)

    def swap(self, rows: Tensor) -> Tensor:
        """See `Axis`."""
        return hosts.wait_for(functional.all_to_all_single(rows.contiguous(), None, None, self.group))

    def part(self, values: Tensor, dim: int) -> Tensor:
        """See `Axis`."""
        length = values.shape[dim] // self.size
        return values.narrow(dim, self.rank * length, length)

    def first(self, length: int, device: torch.device) -> int:
        """See `Axis`."""
        del device
        return self.rank * length
