"""One weight for embedding and head, in a pipeline: the first and the last stage have a copy each (B-7).

Copies begin equal, since weights are drawn by name, and stay so bit for bit: both stages add the same two gradients.
"""

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import P2POp, ProcessGroup

from neuron_trainer.parallel.native.parameters import NativeParameter


def shared(module: nn.Module) -> dict[str, str]:
    """Further names of parameters of a whole model, and their first ones."""
    first = {parameter: name for name, parameter in module.named_parameters()}
    every = module.named_parameters(remove_duplicate=False)
    return {name: first[parameter] for name, parameter in every if first[parameter] != name}


def mark(own: list[NativeParameter], aliases: Mapping[str, str]) -> list[NativeParameter]:
    """Give copies the first name, which checkpoints know them by; returns all parameters with a copy elsewhere."""
    copied = [parameter for parameter in own if parameter.name in aliases or parameter.name in aliases.values()]
    for parameter in copied:
        parameter.name = aliases.get(parameter.name, parameter.name)
        parameter.replicas *= 2
    return copied


def add_gradients(copied: list[NativeParameter], stages: ProcessGroup) -> None:
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
