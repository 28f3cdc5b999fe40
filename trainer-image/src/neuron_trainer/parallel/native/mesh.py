"""The processes as meshes: `rank = tp + TP * (cp + CP * (dp + DP * pp))` (B-6), and dp = ep + EP * rest."""

from dataclasses import dataclass

from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from neuron_api.platform.topology import Topology
from neuron_trainer import accelerators

from .pipeline import pairs


@dataclass(frozen=True, slots=True)
class Meshes:
    """Sub-meshes by use, all of one mesh; None where the dimension has one process."""

    tensor: DeviceMesh | None
    data: DeviceMesh | None
    """What FSDP works on, data and context parallel together: one dimension with zero1 (parameters and states
    sharded), two without (replicated, sharded over 1)."""
    data_rank: int
    data_size: int
    context: DeviceMesh | None
    context_rank: int
    stages: ProcessGroup | None
    links: ProcessGroup | None
    """The same processes as a group that tensors can be sent in."""
    stage: int
    """Of the pipeline."""
    experts: DeviceMesh | None
    """Processes that hold different experts, and as second dimension those that hold parts of each (`tensor`)."""
    experts_data: DeviceMesh | None
    """`data` for the experts' weights: processes that hold the same experts."""
    shuffle: ProcessGroup | None
    """Data-parallel neighbours that mix their tokens."""


def build(device_type: str, topology: Topology, *, experts: int, shuffle: int, zero1: bool) -> Meshes:
    """Make the process groups; `experts` and `shuffle` are sizes of groups of data-parallel processes.

    Without zero1 FSDP2 is told to shard over a dimension of size 1 and to replicate over the real one: gradients are
    averaged by one all-reduce per unit and every rank keeps all states. One mechanism serves both. Processes that share
    a sample's sequence have all weights and a part of each gradient: to FSDP they are data parallel.
    """
    stages, data, context = topology.pipeline_parallel, topology.data_parallel, topology.context_parallel
    sizes = {"stage": stages, "rest": data // experts, "expert": experts, "context": context}
    sizes |= {"one": 1} if not zero1 else {}
    sizes |= {"tensor": topology.tensor_parallel}
    # A dimension makes its process groups, so there are none for what is not split.
    used = {name: size for name, size in sizes.items() if size > 1 or name not in ("expert", "context")}
    mesh = init_device_mesh(device_type, tuple(used.values()), mesh_dim_names=tuple(used))
    tensor = ("tensor",) if topology.tensor_parallel > 1 else ()
    return Meshes(
        tensor=mesh["tensor"] if tensor else None,
        data=_replicas(mesh, "data", ("rest", "expert", "context")) if data * context > 1 else None,
        data_rank=_rank(mesh, "rest") * experts + _rank(mesh, "expert"),
        data_size=data,
        context=mesh["context"] if context > 1 else None,
        context_rank=_rank(mesh, "context"),
        stages=mesh["stage"].get_group() if stages > 1 else None,
        links=_links(mesh) if stages > 1 else None,
        stage=_rank(mesh, "stage"),
        experts=mesh["expert", *tensor] if experts > 1 else None,
        experts_data=_replicas(mesh, "experts-data", ("rest", "context")) if experts > 1 else None,
        shuffle=_neighbours(device_type, topology, shuffle) if shuffle > 1 else None,
    )


def _links(mesh: DeviceMesh) -> ProcessGroup:
    stages = mesh["stage"].get_group()
    if accelerators.get(mesh.device_type).has_send(stages):
        return stages
    pipelines = mesh.mesh.flatten(1).T.tolist()  # `stage` is the first dimension
    return pairs.build(pipelines, mesh.device_type)


def _replicas(mesh: DeviceMesh, name: str, parts: tuple[str, ...]) -> DeviceMesh:
    """The mesh for FSDP over some dimensions together."""
    names = mesh.mesh_dim_names or ()
    own = tuple(part for part in parts if part in names)
    flat = mesh[own]._flatten(name) if len(own) > 1 else mesh[own]
    return DeviceMesh._concatenate([flat, mesh["one"]]) if "one" in names else flat


def _neighbours(device_type: str, topology: Topology, size: int) -> ProcessGroup:
    inner = topology.context_parallel * topology.tensor_parallel
    shape = topology.world_size // (size * inner), size, inner
    return init_device_mesh(device_type, shape, mesh_dim_names=("outer", "shuffle", "inner")).get_group("shuffle")


def _rank(mesh: DeviceMesh, name: str) -> int:
    return mesh.get_local_rank(name) if name in (mesh.mesh_dim_names or ()) else 0
