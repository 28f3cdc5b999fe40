"""Roles of modules to DTensor styles: column, row and vocabulary parallel, with or without sequence parallelism.

Of an embedding whose vocabulary is split, each process looks up the tokens that it has the rows of, and adds nothing to
the others: their rows are multiplied by 0. So no shape depends on a token, and nothing is written by a mask, as
DTensor's own embedding does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_module, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.distributed.tensor.placement_types import Placement

from neuron_api.derive import sharding
from neuron_trainer.models.blocks.dropout import Dropout
from neuron_trainer.models.roles import Role

from .experts import SplitExperts, WholeRouter
from .reduction import Reduction
from .shared_heads import SharedHeads


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


_TENSOR_STREAM = 2718
"""Offset of the random streams of tensor-parallel ranks (B-19)."""


class SplitPositions(ParallelStyle):
    """Learned positions beside an embedding whose output is split over the sequence.

    The table is whole on each process, which looks up its own part of the positions [1 or B, S] only.
    """

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


def apply(
    module: nn.Module,
    mesh: DeviceMesh,
    roles: Mapping[str, Role],
    *,
    sequence_parallel: bool,
    copies: int | None = None,
    reduction: Reduction,
) -> None:
    """Replace the parameters of `module` by DTensors over `mesh` and hook the collectives in (works on meta).

    `copies` of each key/value head (`kv_replicator`); None: as many as needed.
    """
    between = Shard(1) if sequence_parallel else Replicate()
    styles = {name: style for name, role in roles.items() if (style := _style(role, between, reduction))}
    styles |= {
        name: _key_value(module, name, mesh.size(), copies) for name, role in roles.items() if role is Role.KEY_VALUE
    }
    parallelize_module(module, mesh, styles)
    for name, role in roles.items():
        if role is Role.ROW:
            module.get_submodule(name).register_forward_hook(partial(_sum, between, reduction))
        elif role in (Role.BLOCK, Role.VOCABULARY_OUT):
            enter = partial(_enter, mesh, between, reduction)
            module.get_submodule(name).register_forward_pre_hook(enter, prepend=True)
    for name, role in roles.items():
        if role is Role.DROPOUT_INSIDE or (role is Role.DROPOUT and sequence_parallel):
            separate(module.get_submodule(name), mesh)


def separate(module: nn.Module, mesh: DeviceMesh) -> None:
    """Masks of its own for each process, which holds another part of the tensor than its peers."""
    assert isinstance(module, Dropout)
    module.stream = _TENSOR_STREAM + mesh.get_local_rank()


def _style(role: Role, between: Placement, reduction: Reduction) -> ParallelStyle | None:
    """`between`: how the states between blocks are placed."""
    is_split = between != Replicate()
    match role:
        case Role.VOCABULARY_IN:
            return SplitEmbedding(output_layouts=between)
        case Role.VOCABULARY_OUT:
            return ColwiseParallel(output_layouts=Shard(-1), use_local_output=False)
        case Role.COLUMN:
            return ColwiseParallel()
        case Role.ROW:
            return RowwiseParallel(output_layouts=Partial(), use_local_output=False)
        case Role.NORM:
            return SequenceParallel() if is_split else None
        case Role.POSITIONS:
            return SplitPositions() if is_split else None
        case Role.ROUTER:
            return WholeRouter()
        case Role.EXPERTS:
            return SplitExperts(output_layouts=between, reduction=reduction)
        case Role.BLOCK | Role.DROPOUT | Role.DROPOUT_INSIDE | Role.KEY_VALUE:
            return None


def _key_value(module: nn.Module, name: str, size: int, copies: int | None) -> ParallelStyle:
    """Split as a column where there are heads for every process, else shared."""
    linear, attention = module.get_submodule(name), module.get_submodule(name.rpartition(".")[0])
    assert isinstance(linear, nn.Linear)
    assert isinstance(attention.head_dim, int)
    count = linear.out_features // attention.head_dim
    if count % size == 0:
        return ColwiseParallel()
    return SharedHeads(count, sharding.replication(count, size, copies) or 1)


def _sum(between: Placement, reduction: Reduction, _: nn.Module, __: Any, output: DTensor) -> Tensor:
    """The output of a linear whose parts are on several processes."""
    return reduction.sum(output, between)


def _enter(mesh: DeviceMesh, between: Placement, reduction: Reduction, _: nn.Module, inputs: tuple[Any, ...]) -> Any:
    """Once at the door of a block, not in each of its linears: gather the sequence, and sum their gradients on the way
    back; further arguments stay."""
    states, *further = inputs
    if not isinstance(states, DTensor):
        states = DTensor.from_local(states, mesh, [between], run_check=False)
    return reduction.enter(states), *further
