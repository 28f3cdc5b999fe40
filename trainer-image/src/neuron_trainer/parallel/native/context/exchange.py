"""How keys and values come to the queries that see them, and their gradients home: by sends, or by collectives.

A process meets its own part first, then that of the rank before it, and so on: both forms give the same parts in the
same order, and add gradients in the same order, so their numbers are equal bit for bit.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import P2POp, ProcessGroup
from torch.distributed import _functional_collectives as functional

from neuron_trainer.accelerators import Accelerator
from neuron_trainer.parallel import hosts

GradientsOfPart = Callable[[int, Sequence[Tensor]], Sequence[Tensor] | None]
"""From a distance and the tensors of a part to their gradients, fp32; None: there are none."""


class Exchange(Protocol):
    """Collectives over `group`. Tensors are of one shape and dtype, the same on every process."""

    @property
    def group(self) -> ProcessGroup: ...

    def parts(self, own: Sequence[Tensor], count: int) -> Iterator[tuple[int, Sequence[Tensor]]]:
        """Yield the tensors of `count` processes with their distance: this process's place in the sequence, in parts,
        less theirs; negative for what comes later."""
        ...

    def gradients(self, own: Sequence[Tensor], count: int, of_part: GradientsOfPart) -> Sequence[Tensor]:
        """Yield the same parts to `of_part`; return the gradients of this process's tensors, summed over processes."""
        ...


def for_group(group: ProcessGroup, accelerator: Accelerator, *, is_compiled: bool) -> Exchange:
    """Return the form that a kind of device has; in a graph there are no sends."""
    has_send = accelerator.has_send(group) and not is_compiled
    return RingExchange(group) if has_send else GatheredExchange(group)


@dataclass(frozen=True, slots=True)
class RingExchange:
    """Tensors go round, and for their gradients once more, so that each gradient arrives complete where its keys are;
    over a part of the ring, straight home (arXiv:2310.01889). In memory: two parts."""

    group: ProcessGroup

    def parts(self, own: Sequence[Tensor], count: int) -> Iterator[tuple[int, Sequence[Tensor]]]:
        """See `Exchange`."""
        size, rank = self.group.size(), self.group.rank()
        passing = [tensor.contiguous() for tensor in own]
        for step in range(count):
            passing = self._shift(passing) if step else passing
            yield rank - (rank - step) % size, passing

    def gradients(self, own: Sequence[Tensor], count: int, of_part: GradientsOfPart) -> Sequence[Tensor]:
        """See `Exchange`."""
        travelling = [torch.zeros(tensor.shape, dtype=torch.float32, device=tensor.device) for tensor in own]
        for step, (distance, tensors) in enumerate(self.parts(own, count)):
            travelling = self._shift(travelling) if step else travelling
            if (gradients := of_part(distance, tensors)) is not None:
                travelling = [total + gradient for total, gradient in zip(travelling, gradients, strict=True)]
        return self._shift(travelling, hops=1 - count)

    def _shift(self, tensors: list[Tensor], hops: int = 1) -> list[Tensor]:
        """Hand them to the process so many places on and take those of the one as many before."""
        size, rank = self.group.size(), self.group.rank()
        if hops % size == 0:
            return tensors
        received = [torch.empty_like(tensor) for tensor in tensors]
        target, source = (rank + hops) % size, (rank - hops) % size
        operations = [P2POp(dist.isend, tensor, group=self.group, group_peer=target) for tensor in tensors]
        operations += [P2POp(dist.irecv, tensor, group=self.group, group_peer=source) for tensor in received]
        for request in dist.batch_isend_irecv(operations):
            request.wait()
        return received


@dataclass(frozen=True, slots=True)
class GatheredExchange:
    """One all-gather, and for gradients one even all-to-all. In memory: the parts of all processes.

    Functional collectives: a compiled block may contain them.
    """

    group: ProcessGroup

    def parts(self, own: Sequence[Tensor], count: int) -> Iterator[tuple[int, Sequence[Tensor]]]:
        """See `Exchange`."""
        size, rank = self.group.size(), self.group.rank()
        stacked = torch.stack(tuple(own))
        gathered = functional.all_gather_single(stacked, gather_dim=0, group=self.group)
        gathered = hosts.wait_for(gathered).view(size, *stacked.shape)
        for step in range(count):
            source = (rank - step) % size
            yield rank - source, gathered[source].unbind()

    def gradients(self, own: Sequence[Tensor], count: int, of_part: GradientsOfPart) -> Sequence[Tensor]:
        """See `Exchange`."""
        size, rank = self.group.size(), self.group.rank()
        nothing = torch.zeros((len(own), *own[0].shape), dtype=torch.float32, device=own[0].device)
        by_owner = [nothing] * size
        for distance, tensors in self.parts(own, count):
            if (gradients := of_part(distance, tensors)) is not None:
                by_owner[(rank - distance) % size] = torch.stack(tuple(gradients))
        home = functional.all_to_all_single(torch.cat(by_owner), None, None, self.group)
        home = hosts.wait_for(home).view(size, *nothing.shape)
        total = nothing
        for step in range(count):
            total = total + home[(rank + step) % size]
        return total.unbind()
