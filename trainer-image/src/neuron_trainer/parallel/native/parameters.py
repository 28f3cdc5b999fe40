"""Local shards of parameters as plain leaf tensors, and back."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from neuron_trainer.parallel.backend import LocalParameter


@dataclass(slots=True)
class NativeParameter(LocalParameter):
    """A local parameter whose whole is a DTensor or, replicated everywhere, a plain tensor."""

    def wrap(self, local: Tensor) -> Tensor:
        """See `LocalParameter`."""
        whole = self.whole
        if not isinstance(whole, DTensor):
            return local
        return DTensor.from_local(
            local, whole.device_mesh, whole.placements, run_check=False, shape=whole.shape, stride=whole.stride()
        )


def collect(module: nn.Module, world_size: int) -> list[LocalParameter]:
    """The registered parameters in the model's order; call after all splits were applied."""
    return [
        NativeParameter(name, parameter, _leaf(parameter), world_size // _distinct(parameter))
        for name, parameter in module.named_parameters()
    ]


def move_gradient(parameter: LocalParameter) -> None:
    """Give the leaf the local shard of the whole's gradient; a partial sum (sequence parallel norms) is reduced."""
    gradient, whole = parameter.whole.grad, parameter.whole
    if isinstance(gradient, DTensor):
        assert isinstance(whole, DTensor)
        if gradient.placements != whole.placements:
            gradient = gradient.redistribute(placements=whole.placements)
        gradient = gradient.to_local()
    parameter.leaf.grad = gradient


def _leaf(parameter: Tensor) -> nn.Parameter:
    local = parameter.to_local() if isinstance(parameter, DTensor) else parameter
    with torch.no_grad():
        return nn.Parameter(local.detach())


def _distinct(parameter: Tensor) -> int:
    if not isinstance(parameter, DTensor):
        return 1
    sizes = parameter.device_mesh.shape
    product = 1
    for size, placement in zip(sizes, parameter.placements, strict=True):
        product *= 1 if placement.is_replicate() else size
    return product
