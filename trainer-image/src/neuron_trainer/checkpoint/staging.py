"""A copy of a run's tensors in host memory, made in the step by several threads; the buffers stay for the next one.

torch's `DefaultStager` copies storage by storage through a deep copy of the mapping, and cannot cast on the way; so
this is ours (docs/design/015-checkpoints.md; `make bench-checkpoint`).
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Final, TypeVar

import torch
from torch import Tensor

from neuron_trainer import accelerators

T = TypeVar("T")

_PIECE: Final = 1 << 20
"""Elements; a copy of them is about a millisecond."""
_MAX_THREADS: Final = 4
"""More would take cores from training, and wait for the memory."""


@dataclass(frozen=True, slots=True)
class CheckpointTensor:
    """A tensor as it is to be stored."""

    local: Tensor
    """This process's part, of the run."""
    dtype: torch.dtype
    """In the checkpoint."""
    placed: Callable[[Tensor], Tensor] = lambda local: local
    """Gives such a part its place in the whole: `LocalParameter.for_checkpoint`. By default the part is all of it."""

    @property
    def needs_no_cast(self) -> bool:
        """Return whether it can be written without a copy."""
        return self.local.dtype == self.dtype


def in_place(tensors: Mapping[str, CheckpointTensor]) -> dict[str, Tensor]:
    """Return what a synchronous save writes: the run's own tensors, and copies of those that are cast."""
    return {name: item.placed(item.local.to(item.dtype)) for name, item in tensors.items()}


class Stage:
    """Host memory for one checkpoint; the caller waits for a write to end before it copies the next one."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}
        self._threads = Threads(available_threads())

    def copy(self, tensors: Mapping[str, CheckpointTensor]) -> dict[str, Tensor]:
        """Return the tensors of this moment, at their places; the first call allocates."""
        locals_ = {name: item.local.detach() for name, item in tensors.items()}
        if not self._fits(tensors, locals_):
            self._buffers = {
                name: accelerators.host_buffer(locals_[name].shape, item.dtype, locals_[name].device)
                for name, item in tensors.items()
            }
        _copy(self._threads, [self._buffers[name] for name in tensors], list(locals_.values()))
        return {name: item.placed(self._buffers[name]) for name, item in tensors.items()}

    def _fits(self, tensors: Mapping[str, CheckpointTensor], locals_: Mapping[str, Tensor]) -> bool:
        buffers = self._buffers
        return buffers.keys() == tensors.keys() and all(
            buffers[name].shape == locals_[name].shape and buffers[name].dtype == item.dtype
            for name, item in tensors.items()
        )


class Threads:
    """A fixed number of threads that stay, the caller among them.

    Copies, writes and checksums leave the interpreter, so their speeds add up.
    """

    def __init__(self, count: int) -> None:
        self._others = count - 1
        self._pool = ThreadPoolExecutor(self._others, "checkpoint") if self._others else None

    def each(self, work: Callable[[T], object], items: Iterable[T]) -> None:
        """Call `work` on every item; each thread takes the next when it is done with one.

        Returns when all have ended; raises an error of one of them.
        """
        remaining = iter(list(items))

        def take() -> None:
            for item in remaining:  # the next of a list's iterator is one step of the interpreter
                work(item)

        others = [self._pool.submit(take) for _ in range(self._others)] if self._pool is not None else []
        try:
            take()
        finally:
            wait(others)
        for other in others:
            other.result()


def available_threads() -> int:
    """Return this process's share of the node's cores, 1 to 4; the launcher sets how many processes share them."""
    sharers = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return max(1, min(_MAX_THREADS, len(os.sched_getaffinity(0)) // sharers))


@torch.no_grad()
def _copy(threads: Threads, targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    devices: set[torch.device] = set()
    pieces: list[tuple[Tensor, Tensor]] = []
    for target, source in zip(targets, sources, strict=True):
        if not source.is_cpu:
            devices.add(source.device)
            target.copy_(source.to(target.dtype), non_blocking=True)  # cast there: half as much to transfer
        else:
            pieces += _pieces(target, source)
    threads.each(lambda pair: pair[0].copy_(pair[1]), pieces)
    for device in devices:
        accelerators.synchronize(device)


def _pieces(target: Tensor, source: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    """Cut a tensor that is in order in memory into pieces for one thread each."""
    if not source.is_contiguous():
        return [(target, source)]
    return zip(torch.split(target.view(-1), _PIECE), torch.split(source.view(-1), _PIECE), strict=True)
