"""Tensor parallelism of a mixture of experts: every process routes all tokens, and has a part of each expert's width.

Outputs of the experts are parts of a sum, and so are the gradients of what goes into them: states and affinities. The
router works on whole states, its own gradients are whole already.
"""

from typing import Any, Final

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_module, distribute_tensor
from torch.distributed.tensor.parallel import ParallelStyle
from torch.distributed.tensor.placement_types import Placement

from .partial_gradient import with_partial_gradient
from .reduction import Reduction

_SPLIT: Final = {"gate_proj": 1, "up_proj": 1, "down_proj": 2}
"""Dimension of the stacked weights [E, out, in] that is split."""


class SplitExperts(ParallelStyle):
    """`output_layouts`: replicated, or split over the sequence."""

    def __init__(self, *, output_layouts: Placement, reduction: Reduction) -> None:
        self._output, self._reduction = output_layouts, reduction

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        # The hooks may return what replaces inputs and outputs; the annotations of torch 2.14 say None.
        return distribute_module(module, device_mesh, self._split, self._take, self._sum)  # type: ignore[arg-type]

    @staticmethod
    def _split(_: str, module: nn.Module, mesh: DeviceMesh) -> None:
        for name, parameter in list(module.named_parameters(recurse=False)):
            split = distribute_tensor(parameter, mesh, [Shard(_SPLIT[name])], src_data_rank=None)
            module.register_parameter(name, nn.Parameter(split))

    @staticmethod
    def _take(_: nn.Module, inputs: tuple[Any, ...], mesh: DeviceMesh) -> tuple[Tensor, ...]:
        states, affinities, chosen = inputs
        return with_partial_gradient(states, mesh), with_partial_gradient(affinities, mesh), chosen

    def _sum(self, _: nn.Module, output: Tensor, mesh: DeviceMesh) -> Tensor:
        parts = DTensor.from_local(output, mesh, [Partial()], run_check=False)
        return self._reduction.sum(parts, self._output)


class WholeRouter(ParallelStyle):
    """The states of a block come as a DTensor: hand on what it holds."""

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:  # noqa: ARG002
        module.register_forward_pre_hook(lambda _, inputs: (inputs[0].to_local(grad_placements=[Replicate()]),))
        return module
