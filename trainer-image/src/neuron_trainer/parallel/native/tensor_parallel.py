"""Roles of modules to DTensor styles: column, row and vocabulary parallel, with or without sequence parallelism."""

from collections.abc import Mapping

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from neuron_api.derive import heads
from neuron_trainer.models.blocks.dropout import Dropout
from neuron_trainer.models.roles import Role

from .experts import SplitExperts, WholeRouter
from .positions import SplitPositions
from .shared_heads import SharedHeads

_TENSOR_STREAM = 2718
"""Offset of the random streams of tensor-parallel ranks (B-19)."""


def apply(
    module: nn.Module,
    mesh: DeviceMesh,
    roles: Mapping[str, Role],
    *,
    sequence_parallel: bool,
    copies: int | None = None,
) -> None:
    """Replace the parameters of `module` by DTensors over `mesh` and hook the collectives in (works on meta).

    `copies` of each key/value head (`kv_replicator`); None: as many as needed.
    """
    styles = {name: style for name, role in roles.items() if (style := _style(role, module, name, sequence_parallel))}
    styles |= {
        name: _key_value(module, name, mesh.size(), copies) for name, role in roles.items() if role is Role.KEY_VALUE
    }
    parallelize_module(module, mesh, styles)
    for name, role in roles.items():
        if role is Role.DROPOUT_INSIDE or (role is Role.DROPOUT and sequence_parallel):
            _separate(module.get_submodule(name), mesh)


def _separate(module: nn.Module, mesh: DeviceMesh) -> None:
    """Masks of its own for each process, which holds another part of the tensor than its peers."""
    assert isinstance(module, Dropout)
    module.stream = _TENSOR_STREAM + mesh.get_local_rank()


def _style(role: Role, module: nn.Module, name: str, sequence_parallel: bool) -> ParallelStyle | None:
    between = Shard(1) if sequence_parallel else Replicate()
    match role:
        case Role.VOCABULARY_IN:
            return RowwiseParallel(input_layouts=Replicate(), output_layouts=between)
        case Role.VOCABULARY_OUT:
            return ColwiseParallel(input_layouts=between, output_layouts=Shard(-1), use_local_output=False)
        case Role.COLUMN:
            return ColwiseParallel()
        case Role.ROW:
            return RowwiseParallel(output_layouts=between)
        case Role.NORM:
            return SequenceParallel() if sequence_parallel else None
        case Role.BLOCK:
            return _gather(module.get_submodule(name)) if sequence_parallel else None
        case Role.POSITIONS:
            return SplitPositions() if sequence_parallel else None
        case Role.ROUTER:
            return WholeRouter() if sequence_parallel else None
        case Role.EXPERTS:
            return SplitExperts(output_layouts=between)
        case Role.DROPOUT | Role.DROPOUT_INSIDE | Role.KEY_VALUE:
            return None


def _key_value(module: nn.Module, name: str, size: int, copies: int | None) -> ParallelStyle:
    """Split as a column where there are heads for every process, else shared."""
    linear, attention = module.get_submodule(name), module.get_submodule(name.rpartition(".")[0])
    assert isinstance(linear, nn.Linear)
    assert isinstance(attention.head_dim, int)
    count = linear.out_features // attention.head_dim
    if count % size == 0:
        return ColwiseParallel()
    return SharedHeads(count, heads.replication(count, size, copies) or 1)


def _gather(block: nn.Module) -> ParallelStyle:
    """Gather the sequence once at the door of a block, not in each of its linears; further arguments stay."""
    further = block.forward.__code__.co_argcount - 2
    none = (None,) * further
    return PrepareModuleInput(input_layouts=(Shard(1), *none), desired_input_layouts=(Replicate(), *none))
