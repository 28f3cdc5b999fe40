"""Weights that the first and the last stage of a pipeline both have: embedding and head."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import P2POp, ProcessGroup

from neuron_trainer.parallel.native.parameters import NativeParameter


def add_gradients(copied: Sequence[NativeParameter], stages: ProcessGroup) -> None:
    """Sum the gradients of the copies in the first and the last stage; a send and a receive for each.

    `stages`: tensors can be sent in it.
    """
    peer = stages.size() - 1 - stages.rank()
    for parameter in copied:
        gradient = parameter.leaf.grad
        assert gradient is not None
        parameter.leaf.grad = gradient + _swapped(gradient, peer, stages)


def _swapped(own: Tensor, peer: int, group: ProcessGroup) -> Tensor:
    other = torch.empty_like(own)
    send = P2POp(dist.isend, own.contiguous(), group=group, group_peer=peer)
    receive = P2POp(dist.irecv, other, group=group, group_peer=peer)
    for request in dist.batch_isend_irecv([send, receive]):
        request.wait()
    return other
