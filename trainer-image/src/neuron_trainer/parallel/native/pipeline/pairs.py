"""The stages of a pipeline on a device that cannot send: each transfer is a broadcast in the group of its two stages.

Such a device runs the collectives of a process strictly in order, and each waits for its peer. PyTorch's schedules
stay free of deadlocks: docs/design/022-devices.md has the proof.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Final, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import Backend, ProcessGroup, Work

_NAME: Final = "pairs"


class _Transfer(NamedTuple):
    """Of one tensor, between ranks of the group."""

    source: int
    target: int
    tensor: Tensor


class PairedGroup(ProcessGroup):
    """A process group with `send` and `recv` alone, for `torch.distributed.isend`, `irecv` and `batch_isend_irecv`."""

    supports_coalescing = True
    """Asked by `batch_isend_irecv`: the transfers of a batch may come in any order on each side, so they are sorted."""

    def __init__(self, rank: int, size: int, pairs: Mapping[int, ProcessGroup]) -> None:
        """`pairs`: by rank of the other one."""
        super().__init__(rank, size)  # type: ignore[call-arg]  # the one for groups in Python
        self._pairs = pairs
        self._batch: list[_Transfer] | None = None

    def getBackendName(self) -> str:  # noqa: N802  # PyTorch's name
        """Return the name under which it is registered."""
        return _NAME

    def _set_group_name(self, name: str) -> None:
        self._name = name

    @property
    def group_name(self) -> Any:
        """Return PyTorch's name of it; that of the base class is its backend's, and this group has none."""
        return self._name

    def _get_backend(self, _: torch.device) -> "PairedGroup":  # type: ignore[override]
        return self

    def send(self, tensors: list[Tensor], target: int, _tag: int = 0) -> Work:
        """Return when the tensor is on its way, as a device sees it; `target` is a rank of the group."""
        return self._add(_Transfer(self.rank(), target, tensors[0]))

    def recv(self, tensors: list[Tensor], source: int, _tag: int = 0) -> Work:
        """Overwrite the tensor with that of a rank of the group."""
        return self._add(_Transfer(source, self.rank(), tensors[0]))

    def _start_coalescing(self, _: torch.device) -> None:
        self._batch = []

    def _end_coalescing(self, _: torch.device) -> Work:
        assert self._batch is not None
        # Both ends of a pair have the same transfers in a batch. Sorted by pair, then by source, they meet.
        for transfer in sorted(self._batch, key=lambda own: (_pair(own.source, own.target), own.source)):
            self._run(transfer)
        self._batch = None
        return _Done()

    def _add(self, transfer: _Transfer) -> Work:
        if self._batch is None:
            self._run(transfer)
        else:
            self._batch.append(transfer)
        return _Done()

    @torch.no_grad()
    def _run(self, transfer: _Transfer) -> None:
        """Broadcast. TorchNeuron does so by a sum that it writes into the tensor on both sides: the sender's may be
        needed for its backward pass, so a copy is sent."""
        is_source = transfer.source == self.rank()
        group = self._pairs[transfer.target if is_source else transfer.source]
        tensor = transfer.tensor.clone() if is_source else transfer.tensor
        dist.broadcast(tensor, group=group, group_src=sorted(transfer[:2]).index(transfer.source))


class _Done(Work):
    """A transfer that later work of this process follows in order."""

    def wait(self, timeout: Any = None) -> bool:
        """Return at once."""
        del timeout
        return True


def build(pipelines: Sequence[Sequence[int]], device_type: str) -> ProcessGroup:
    """Make the groups of all pipelines, given the ranks of each one's stages in order; return this process's.

    A collective. Neighbours are paired, and the last stage with the first: interleaved blocks follow each other there,
    and a shared weight is in both.
    """
    own: ProcessGroup | None = None
    for ranks in pipelines:
        pairs = _pairs(ranks)
        Backend.register_backend(_NAME, partial(_create, pairs), devices=[device_type])
        group = dist.new_group(list(ranks), backend=_NAME)
        own = group if isinstance(group, ProcessGroup) else own
    assert own is not None, "every process is in a pipeline"
    return own


def _pairs(ranks: Sequence[int]) -> dict[int, ProcessGroup]:
    """Make the groups of a pipeline's pairs; return this process's by the place of the other stage."""
    places = {_pair(*places) for places in [*pairwise(range(len(ranks))), (len(ranks) - 1, 0)]}
    own: dict[int, ProcessGroup] = {}
    for first, second in sorted(places):
        group = dist.new_group([ranks[first], ranks[second]])
        if isinstance(group, ProcessGroup):  # this process is in it
            own[second if ranks[first] == dist.get_rank() else first] = group
    return own


def _create(pairs: Mapping[int, ProcessGroup], _: Any, rank: int, size: int, __: Any) -> PairedGroup:
    return PairedGroup(rank, size, pairs)


def _pair(first: int, other: int) -> tuple[int, int]:
    return min(first, other), max(first, other)
