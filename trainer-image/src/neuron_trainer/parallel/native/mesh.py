"""The processes as meshes: `rank = tp + TP * (cp + CP * (dp + DP * pp))` (B-6)."""

from dataclasses import dataclass

from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from neuron_api.topology import Topology


@dataclass(frozen=True, slots=True)
class Meshes:
    """Sub-meshes by use; None where the dimension has one process."""

    tensor: DeviceMesh | None
    data: DeviceMesh | None
    """What FSDP works on, data and context parallel together: one dimension with zero1 (parameters and states
    sharded), two without (replicated, sharded over 1)."""
    data_rank: int
    data_size: int
    context: ProcessGroup | None
    context_rank: int
    stages: ProcessGroup | None
    stage: int
    """Of the pipeline."""


def build(device_type: str, topology: Topology, *, zero1: bool, always_data: bool) -> Meshes:
    """Make the process groups; `always_data` makes a data mesh for one process, too (mixed precision needs FSDP).

    Without zero1 FSDP2 is told to shard over a dimension of size 1 and to replicate over the real one: gradients are
    averaged by one all-reduce per unit and every rank keeps all states. One mechanism serves both. Processes that
    share a sample's sequence have all weights and a part of each gradient: to FSDP they are data parallel.
    """
    stages, data, context = topology.pipeline_parallel, topology.data_parallel, topology.context_parallel
    tensor, shards = topology.tensor_parallel, data * context
    sizes = {"stage": stages, "shard": shards, "tensor": tensor}
    if not zero1:
        sizes = {"stage": stages, "replicate": shards, "shard": 1, "tensor": tensor}
    names = tuple(sizes)
    mesh = init_device_mesh(device_type, tuple(sizes.values()), mesh_dim_names=names)
    shard = mesh.get_local_rank("shard" if zero1 else "replicate")
    return Meshes(
        tensor=mesh["tensor"] if tensor > 1 else None,
        data=mesh[names[1:-1]] if shards > 1 or always_data else None,
        data_rank=shard // context,
        data_size=data,
        context=_context(device_type, (stages * data, context, tensor)) if context > 1 else None,
        context_rank=shard % context,
        stages=mesh["stage"].get_group() if stages > 1 else None,
        stage=mesh.get_local_rank("stage"),
    )


def _context(device_type: str, shape: tuple[int, int, int]) -> ProcessGroup:
    return init_device_mesh(device_type, shape, mesh_dim_names=("rest", "context", "tensor"))["context"].get_group()
