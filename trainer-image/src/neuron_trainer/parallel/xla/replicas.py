"""`Axis` on lazy devices: collectives of torch_xla in replica groups, which a compiled program has in its text.

Each names the groups of all processes, and nothing in a step is a number of this process: its place is a tensor. So the
text is the same on all processes, and is compiled once (upstream-facts.md#xla-graphs).
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


def end_graph(device: torch.device) -> None:
    """Give a lazy device what has been asked of it so far as one graph; others have computed it already."""
    if device.type == "xla":
        _torch_xla().sync()


def run_again(function: Callable[..., Any], states: Tensor, *args: Any) -> Any:
    """Call a function now, and once more in the backward pass: torch_xla's checkpoint, whose barriers keep the compiler
    from taking the second for the first. It is given states that need a gradient, or it would record none."""
    import torch_xla.utils.checkpoint

    if not torch.is_grad_enabled():
        return function(states, *args)
    if not states.requires_grad:
        states = states.detach().requires_grad_()
    return torch_xla.utils.checkpoint.checkpoint(function, states, *args)


@dataclass(frozen=True, slots=True)
class ReplicaAxis:
    """See `Axis`."""

    groups: tuple[tuple[int, ...], ...]
    """Ranks of all groups, this process's among them; of the first alone where the runtime knows the others by it
    (`neuron_experimental_compress_rg`)."""
    own: tuple[int, ...]
    """The one of this process."""
    rank: int

    @property
    def size(self) -> int:
        """See `Axis`."""
        return len(self.own)

    @property
    def ranks(self) -> tuple[int, ...]:
        """See `Axis`."""
        return self.own

    def sum(self, values: Tensor) -> Tensor:
        """See `Axis`."""
        return self._reduced(values, "sum")

    def max(self, values: Tensor) -> Tensor:
        """See `Axis`."""
        return self._reduced(values, "max")

    def _reduced(self, values: Tensor, kind: str) -> Tensor:
        result: Tensor = _model().all_reduce(kind, values, groups=self._lists(), pin_layout=False)
        return result

    def gather(self, parts: Tensor, dim: int) -> Tensor:
        """See `Axis`."""
        result: Tensor = _model().all_gather(parts, dim=dim, groups=self._lists(), pin_layout=False)
        return result

    def scatter(self, values: Tensor, dim: int) -> Tensor:
        """See `Axis`."""
        result: Tensor = _model().reduce_scatter(
            "sum", values, 1.0, scatter_dim=dim, shard_count=self.size, groups=self._lists(), pin_layout=False
        )
        return result

    def swap(self, rows: Tensor) -> Tensor:
        """See `Axis`."""
        result: Tensor = _model().all_to_all(
            rows, split_dimension=0, concat_dimension=0, split_count=self.size, groups=self._lists(), pin_layout=False
        )
        return result

    def part(self, values: Tensor, dim: int) -> Tensor:
        """See `Axis`."""
        shape = (*values.shape[:dim], self.size, values.shape[dim] // self.size, *values.shape[dim + 1 :])
        return values.view(shape).index_select(dim, numbers((self.rank,), values.device, self)).squeeze(dim)

    def first(self, length: int, device: torch.device) -> Tensor:
        """See `Axis`."""
        return numbers((self.rank,), device, self)[0] * length

    def _lists(self) -> list[list[int]]:
        return [list(members) for members in self.groups]


@lru_cache(maxsize=64)
def numbers(values: tuple[int, ...], device: torch.device, of: Hashable) -> Tensor:
    """Return int64 [n] as data, which a graph takes as an argument: copied to a device once for what they are `of`.

    Numbers that are equal by chance are two arguments, as they are on other processes."""
    del of
    return torch.tensor(values, dtype=torch.int64).to(device)


def _torch_xla() -> Any:
    """It claims a core when it is imported, so a worker alone does, when it has its device."""
    import torch_xla

    return torch_xla


def _model() -> Any:
    import torch_xla.core.xla_model

    return torch_xla.core.xla_model
