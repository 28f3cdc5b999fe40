"""Learned positions beside an embedding whose output is split over the sequence."""

from typing import Any

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_module
from torch.distributed.tensor.parallel import ParallelStyle


class SplitPositions(ParallelStyle):
    """The table is whole on each process, which looks up its own part of the positions [1 or B, S] only."""

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        # The hooks may return what replaces inputs and outputs; the annotations of torch 2.14 say None.
        return distribute_module(module, device_mesh, None, self._take, self._local)  # type: ignore[arg-type]

    @staticmethod
    def _take(_: nn.Module, inputs: tuple[Any, ...], mesh: DeviceMesh) -> tuple[DTensor]:
        whole = DTensor.from_local(inputs[0], mesh, [Replicate()], run_check=False)
        return (whole.redistribute(placements=[Shard(1)]),)

    @staticmethod
    def _local(_: nn.Module, output: DTensor, __: DeviceMesh) -> Tensor:
        return output.to_local()
