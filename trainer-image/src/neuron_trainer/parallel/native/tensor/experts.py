"""Tensor parallelism of a mixture of experts: every process routes all tokens, and has a part of each expert's width.

Outputs of the experts are parts of a sum, and so are the gradients of what goes into them: states and affinities. The
router works on whole states, its own gradients are whole already.
"""

from typing import Any

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_module, distribute_tensor
from torch.distributed.tensor.parallel import ParallelStyle
from torch.distributed.tensor.placement_types import Placement

from neuron_trainer.models.blocks.moe.blocked import blocked
from neuron_trainer.models.blocks.moe.experts import WIDTH, Experts
from neuron_trainer.parallel.axis import GroupAxis
from neuron_trainer.parallel.expert.exchange import Exchange

from .reduction import Reduction, with_partial_gradient


def split(module: Experts, mesh: DeviceMesh) -> None:
    """Cut the stacked weights over `mesh`: by experts, by width, or by both, whatever dimensions it has."""
    module.is_split = True
    for name, parameter in list(module.named_parameters(recurse=False)):
        dims = {"expert": 0, "tensor": WIDTH[name]}
        placements = [Shard(dims[axis]) for axis in mesh.mesh_dim_names or ()]
        module.register_parameter(
            name, nn.Parameter(distribute_tensor(parameter, mesh, placements, src_data_rank=None))
        )


def spread(module: nn.Module, mesh: DeviceMesh) -> None:
    """Split the experts of every layer over the first dimension of `mesh`, and each over the second (works on meta)."""
    for child in module.modules():
        if isinstance(child, Experts):
            split(child, mesh)
            child.exchange = Exchange(GroupAxis(mesh.get_group("expert")))


def compute_in_blocks(module: nn.Module) -> None:
    """Compute experts as a device can whose host does not know how many rows each has."""
    for child in module.modules():
        if isinstance(child, Experts):
            child.product = blocked


class SplitExperts(ParallelStyle):
    """`output_layouts`: replicated, or split over the sequence."""

    def __init__(self, *, output_layouts: Placement, reduction: Reduction) -> None:
        self._output, self._reduction = output_layouts, reduction

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        assert isinstance(module, Experts)
        if not module.is_split:  # else by expert already
            split(module, device_mesh)
        # The hooks may return what replaces inputs and outputs; the annotations of torch 2.14 say None.
        return distribute_module(module, device_mesh, None, self._take, self._sum)  # type: ignore[arg-type]

    @staticmethod
    def _take(_: nn.Module, inputs: tuple[Any, ...], mesh: DeviceMesh) -> tuple[Tensor, ...]:
        states, affinities, *rest = inputs
        return with_partial_gradient(states, mesh), with_partial_gradient(affinities, mesh), *rest

    def _sum(self, _: nn.Module, output: Tensor, mesh: DeviceMesh) -> Tensor:
        parts = DTensor.from_local(output, mesh, [Partial()], run_check=False)
        return self._reduction.sum(parts, self._output)


class WholeRouter(ParallelStyle):
    """With sequence parallelism the gathered states come as a DTensor: hand on what it holds. Mixed tokens do not."""

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:  # noqa: ARG002
        module.register_forward_pre_hook(lambda _, inputs: (_local(inputs[0]),))
        return module


def _local(states: Tensor) -> Tensor:
    return states.to_local(grad_placements=[Replicate()]) if isinstance(states, DTensor) else states
