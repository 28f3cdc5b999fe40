"""The processes as a mesh, tensor parallel fastest: `rank = tp + TP * dp` (B-6)."""

from dataclasses import dataclass

from torch.distributed.device_mesh import DeviceMesh, init_device_mesh


@dataclass(frozen=True, slots=True)
class Meshes:
    """Sub-meshes by use; None where the dimension has one process."""

    tensor: DeviceMesh | None
    data: DeviceMesh | None
    """One dimension with zero1 (parameters and states sharded), two without (replicated, sharded over 1)."""
    data_rank: int
    data_size: int


def build(device_type: str, tensor: int, data: int, *, zero1: bool, always_data: bool) -> Meshes:
    """Make the process groups; `always_data` makes a data mesh for one process, too (mixed precision needs FSDP).

    Without zero1 FSDP2 is told to shard over a dimension of size 1 and to replicate over the real one: gradients are
    averaged by one all-reduce per unit and every rank keeps all states. One mechanism serves both.
    """
    mesh = init_device_mesh(device_type, (data, 1, tensor), mesh_dim_names=("replicate", "shard", "tensor"))
    if zero1:
        mesh = init_device_mesh(device_type, (data, tensor), mesh_dim_names=("shard", "tensor"))
    names = ("shard",) if zero1 else ("replicate", "shard")
    rank = mesh.get_local_rank("shard" if zero1 else "replicate")
    return Meshes(
        tensor=mesh["tensor"] if tensor > 1 else None,
        data=mesh[names] if data > 1 or always_data else None,
        data_rank=rank,
        data_size=data,
    )
