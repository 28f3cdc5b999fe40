"""A copy of a run's tensors in host memory, made in the step; the buffers are kept for the next one.

torch's `DefaultStager` copies storage by storage through a deep copy of the mapping, and cannot cast on the way; so
this is ours (docs/design/015-checkpoints.md; `make bench-checkpoint`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from .threads import Threads, available

_PIECE: Final = 1 << 20
"""Elements; a copy of them is about a millisecond."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as it is to be stored."""

    tensor: Tensor
    """Of the run: a DTensor where it is split."""
    dtype: torch.dtype
    """In the checkpoint."""

    @property
    def local(self) -> Tensor:
        """This process's part."""
        return self.tensor.to_local() if isinstance(self.tensor, DTensor) else self.tensor

    @property
    def is_as_it_is(self) -> bool:
        """Whether it can be written without a copy."""
        return self.tensor.dtype == self.dtype

    def like(self, local: Tensor) -> Tensor:
        """`local` at the place of this tensor in the whole."""
        if not isinstance(self.tensor, DTensor):
            return local
        return DTensor.from_local(
            local,
            self.tensor.device_mesh,
            self.tensor.placements,
            run_check=False,
            shape=self.tensor.shape,
            stride=self.tensor.stride(),
        )


def in_place(tensors: Mapping[str, Stored]) -> dict[str, Tensor]:
    """What a synchronous save writes: the run's own tensors, and copies of those that are cast."""
    return {name: one.tensor if one.is_as_it_is else one.like(one.local.to(one.dtype)) for name, one in tensors.items()}


class Stage:
    """Host memory for one checkpoint; the caller waits for a write to end before it copies the next one."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}
        self._threads = Threads(available())

    def copy(self, tensors: Mapping[str, Stored]) -> dict[str, Tensor]:
        """The tensors of this moment, at their places; the first call allocates."""
        locals_ = {name: one.local.detach() for name, one in tensors.items()}
        if not self._fits(tensors, locals_):
            self._buffers = {name: _buffer(locals_[name], one.dtype) for name, one in tensors.items()}
        _copy(self._threads, [self._buffers[name] for name in tensors], list(locals_.values()))
        return {name: one.like(self._buffers[name]) for name, one in tensors.items()}

    def _fits(self, tensors: Mapping[str, Stored], locals_: Mapping[str, Tensor]) -> bool:
        buffers = self._buffers
        return buffers.keys() == tensors.keys() and all(
            buffers[name].shape == locals_[name].shape and buffers[name].dtype == one.dtype
            for name, one in tensors.items()
        )


def _buffer(local: Tensor, dtype: torch.dtype) -> Tensor:
    """Pinned where the tensor is on a device, so that the copy is one transfer."""
    pinned = local.device.type != "cpu" and torch.accelerator.is_available()
    return torch.empty(local.shape, dtype=dtype, device="cpu", pin_memory=pinned)


@torch.no_grad()
def _copy(threads: Threads, targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    is_on_device = False
    pieces: list[tuple[Tensor, Tensor]] = []
    for target, source in zip(targets, sources, strict=True):
        if source.device.type != "cpu":
            is_on_device = True
            target.copy_(source, non_blocking=True)
        else:
            pieces += _pieces(target, source)
    threads.each(lambda pair: pair[0].copy_(pair[1]), pieces)
    if is_on_device:
        torch.accelerator.synchronize()


def _pieces(target: Tensor, source: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    """For one thread each: of what is in order in memory, so many elements."""
    if not source.is_contiguous():
        return [(target, source)]
    return zip(torch.split(target.view(-1), _PIECE), torch.split(source.view(-1), _PIECE), strict=True)
