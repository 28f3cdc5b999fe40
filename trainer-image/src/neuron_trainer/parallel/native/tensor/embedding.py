"""An embedding whose vocabulary is split over tensor-parallel processes.

Each process looks up the tokens that it has the rows of, and adds nothing to the others: their rows are multiplied by
0. So no shape depends on a token, and nothing is written by a mask, as DTensor's own embedding does.
"""

from dataclasses import dataclass

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ParallelStyle
from torch.distributed.tensor.placement_types import Placement


class SplitEmbedding(ParallelStyle):
    """For an embedding with V / TP rows on each process; `output_layouts`: whole, or split over the sequence."""

    def __init__(self, *, output_layouts: Placement) -> None:
        self._output = output_layouts

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        assert isinstance(module, nn.Embedding)
        module.weight = nn.Parameter(distribute_tensor(module.weight, device_mesh, [Shard(0)], src_data_rank=None))
        holder: nn.Module = module
        holder.forward = SplitLookup(module, device_mesh, self._output)
        return module


@dataclass(frozen=True, slots=True)
class SplitLookup:
    """The `forward` of such an embedding."""

    embedding: nn.Embedding
    mesh: DeviceMesh
    output: Placement

    def __call__(self, ids: Tensor) -> Tensor:
        """Token ids int64 [B, S] to [B, S, H], or to this process's part of the sequence; one collective.

        One term of the sum over processes is not 0, so the sum is exact in any dtype.
        """
        weight = self.embedding.weight
        assert isinstance(weight, DTensor)
        local = weight.to_local()
        places = ids - self.mesh.get_local_rank() * len(local)
        is_own = (places >= 0) & (places < len(local))
        rows = F.embedding(places * is_own, local) * is_own.unsqueeze(-1).to(local.dtype)
        parts = DTensor.from_local(rows, self.mesh, [Partial()], run_check=False)
        return parts.redistribute(placements=[self.output]).to_local()
