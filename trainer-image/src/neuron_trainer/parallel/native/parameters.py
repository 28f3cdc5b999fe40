"""Local shards of parameters as plain leaf tensors, and back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from torch.distributed.tensor.placement_types import Placement

from neuron_trainer.parallel import hosts
from neuron_trainer.parallel.axis import GroupAxis
from neuron_trainer.parallel.backend import LocalParameter
from neuron_trainer.parallel.parts import Cut


@dataclass(slots=True)
class NativeParameter(LocalParameter):
    """A local parameter whose whole is a DTensor or, replicated everywhere, a plain tensor."""

    whole: Tensor = field(kw_only=True)
    """The parameter as it is registered."""
    scale: float = 1.0
    """Of the averaged gradient: an expert's is averaged over the processes that hold it, and is the sum of tokens from
    all processes of their expert-parallel groups."""
    used: Tensor = field(init=False)
    """What modules compute with and autograd gives gradients to: the whole, or with `WorkingWeights` its copy."""

    def __post_init__(self) -> None:
        self.used = self.whole

    def gathered(self) -> Tensor:
        """See `LocalParameter`."""
        placed = self.for_checkpoint(self.leaf.detach())
        return placed.full_tensor() if isinstance(placed, DTensor) else placed

    def for_checkpoint(self, local: Tensor, dims: tuple[int, ...] | None = None) -> Tensor:
        """See `LocalParameter`."""
        whole = self.whole
        if not isinstance(whole, DTensor) or dims == ():
            return local
        dims = tuple(range(whole.ndim)) if dims is None else dims
        layout = torch.empty([whole.shape[dim] for dim in dims], device="meta")
        placements = [_placement_over(placement, dims) for placement in whole.placements]
        # A copy in host memory is placed on the hosts: a DTensor on the devices' mesh would move it there.
        mesh = hosts.mesh(whole.device_mesh) if local.is_cpu else whole.device_mesh
        return DTensor.from_local(local, mesh, placements, run_check=False, shape=layout.shape, stride=layout.stride())


def collect(module: nn.Module, world_size: int, *, is_frozen: bool = False) -> list[NativeParameter]:
    """The trained parameters in the model's order, or the frozen ones; call after all splits were applied."""
    return [
        NativeParameter(
            name,
            parameter.shape,
            _leaf(parameter),
            world_size // _distinct(parameter),
            _cuts(parameter),
            _offset(parameter),
            scale=1 / _expert_parallel(parameter),
            whole=parameter,
        )
        for name, parameter in module.named_parameters()
        if parameter.requires_grad != is_frozen
    ]


def move_gradients(parameters: Sequence[NativeParameter], micro_batches: int) -> None:
    """Give each leaf its shard of the mean gradient in its dtype; what comes is the sum over micro-batches."""
    for parameter in parameters:
        _move_gradient(parameter)
    gradients = [parameter.leaf.grad for parameter in parameters if parameter.leaf.grad is not None]
    if gradients and micro_batches > 1:
        torch._foreach_div_(gradients, micro_batches)


def _move_gradient(parameter: NativeParameter) -> None:
    """A partial sum (sequence parallel norms) is reduced."""
    gradient, whole, leaf = parameter.used.grad, parameter.whole, parameter.leaf
    if isinstance(gradient, DTensor):
        assert isinstance(whole, DTensor)
        if gradient.placements != whole.placements:
            gradient = gradient.redistribute(placements=whole.placements)
        gradient = gradient.to_local()
    if gradient is not None and parameter.scale != 1.0:
        gradient = gradient.mul_(parameter.scale)
    if gradient is not None and gradient.dtype != leaf.dtype:
        gradient = gradient.to(leaf.dtype)
    leaf.grad = gradient


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


def _expert_parallel(parameter: Tensor) -> int:
    if not isinstance(parameter, DTensor):
        return 1
    names = parameter.device_mesh.mesh_dim_names or ()
    return parameter.device_mesh.size(names.index("expert")) if "expert" in names else 1


def _cuts(parameter: Tensor) -> tuple[Cut, ...]:
    if not isinstance(parameter, DTensor):
        return ()
    mesh = parameter.device_mesh
    return tuple(
        Cut(_dim(placement), GroupAxis(mesh.get_group(number)))
        for number, placement in enumerate(parameter.placements)
        if not placement.is_replicate() and mesh.size(number) > 1
    )


def _offset(parameter: Tensor) -> tuple[int, ...]:
    if not isinstance(parameter, DTensor):
        return (0,) * parameter.ndim
    _, offset = compute_local_shape_and_global_offset(parameter.shape, parameter.device_mesh, parameter.placements)
    return tuple(offset)


def _placement_over(placement: Placement, dims: tuple[int, ...]) -> Placement:
    """The placement of a tensor that has only these dimensions of the parameter."""
    if placement.is_replicate() or _dim(placement) not in dims:
        return Replicate()
    place = dims.index(_dim(placement))
    return placement if place == _dim(placement) else Shard(place)


def _dim(placement: Placement) -> int:
    """Parameters are replicated or sharded; FSDP2's shard of a tensor-parallel shard is no subclass of `Shard`."""
    return cast(Shard, placement).dim
