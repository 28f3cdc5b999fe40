"""Data parallelism: FSDP2 for zero1 sharding and mixed precision, DistributedDataParallel for plain replicas.

Buckets (`bucket_size_collectives`): modules whose gradients are reduced, and weights gathered, together. FSDP2 has one
collective for each unit, and a unit is made of modules; so a bucket is filled module by module, in the order in which
they run, and is never larger than asked unless one module alone is. Split experts have a collective of their own in
each unit.
"""

from collections.abc import Iterator, Set
from functools import partial
from typing import Any, Final

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.fsdp._fully_shard._fsdp_common import FSDPMeshInfo, HSDPMeshInfo, ShardPlacementResult
from torch.distributed.tensor import DTensor, Shard
from torch.nn.parallel import DistributedDataParallel

from neuron_api.derive.precision import PrecisionPolicy
from neuron_trainer.models.blocks.moe.experts import HIDDEN, Experts
from neuron_trainer.parallel import dtypes
from neuron_trainer.parallel.stages import LocalLayers

MEBI: Final = 2**20


def mixed_precision(policy: PrecisionPolicy) -> MixedPrecisionPolicy:
    """FSDP gathers weights in the dtype of computing; it sums gradients over micro-batches in the one it reduces in."""
    gathered = dtypes.TORCH[policy.compute] if policy.has_masters else None
    reduced = dtypes.TORCH[policy.accumulation] if policy.accumulation != policy.compute else None
    return MixedPrecisionPolicy(param_dtype=gathered, reduce_dtype=reduced, cast_forward_inputs=False)


def units(
    module: nn.Module, layers: list[str], megabytes: int | None, *, is_compiled: bool = False
) -> list[list[nn.Module]]:
    """Without a size each layer is one. What is in none (a weight that two modules share) is left to the root.

    A layer that is compiled is never divided: units have hooks, which its graph cannot have.
    """
    each = [module.get_submodule(name) for name in layers]
    if megabytes is None:
        return [[layer] for layer in each]
    buckets: list[list[nn.Module]] = []
    filled, limit = 0, megabytes * MEBI
    for part in _parts(module, limit, _shared(module), set(each) if is_compiled else set()):
        size = _size(part)
        if not buckets or filled + size > limit:
            buckets, filled = [*buckets, []], 0
        buckets[-1].append(part)
        filled += size
    return buckets


def _parts(module: nn.Module, limit: int, excluded: Set[nn.Parameter], single: Set[nn.Module]) -> Iterator[nn.Module]:
    """Modules that run as one, as large as fits, without those that have parameters which are left out."""
    for child in module.children():
        is_whole = excluded.isdisjoint(child.parameters())
        is_single = child in single or next(child.parameters(recurse=False), None) is not None
        if not _size(child, excluded):
            continue
        if isinstance(child, nn.ModuleList | LocalLayers) or not (is_single or (is_whole and _size(child) <= limit)):
            yield from _parts(child, limit, excluded, single)
        elif is_whole:
            yield child


def _size(module: nn.Module, excluded: Set[nn.Parameter] = frozenset()) -> int:
    """Bytes of what this process holds before data parallelism; frozen parameters are in no bucket."""
    own = [parameter for parameter in module.parameters() if parameter.requires_grad and parameter not in excluded]
    return sum((parameter.to_local() if isinstance(parameter, DTensor) else parameter).nbytes for parameter in own)


def _shared(module: nn.Module) -> set[nn.Parameter]:
    """Parameters with two names."""
    names = list(module.named_parameters(remove_duplicate=False))
    return {parameter for _, parameter in names if sum(parameter is other for _, other in names) > 1}


def apply(
    module: nn.Module,
    mesh: DeviceMesh,
    layers: list[str],
    precision: MixedPrecisionPolicy,
    *,
    experts: DeviceMesh | None = None,
    bucket: int | None = None,
    is_compiled: bool = False,
) -> None:
    """Shard each layer, or what fits into a `bucket` of so many MiB, and then the rest as units.

    Parameters stay gathered from forward to the end of backward. With expert parallelism the `experts` of a unit have a
    mesh of their own, of the processes that hold the same; they are no unit of their own, since no hook may be in the
    graph of a layer that is compiled. Frozen parameters are in no unit: they stay whole on each process, are never
    gathered and have nothing to reduce.
    """
    frozen = {parameter for parameter in module.parameters() if not parameter.requires_grad}
    place = _Placement(module, mesh, experts)
    shard = partial(
        fully_shard,
        mesh=mesh,
        mp_policy=precision,
        reshard_after_forward=False,
        ignored_params=frozen,
        shard_placement_fn=place,
    )
    for unit in units(module, layers, bucket, is_compiled=is_compiled):
        for part in unit:
            part.register_forward_hook(_no_view)
        shard(unit)
    shard(module)


def _no_view(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
    """FSDP2 hooks its backward pass to a unit's output, which a view could lose."""
    return output.clone() if isinstance(output, Tensor) and output._is_view() else output


class _Placement:
    """Where FSDP2 cuts a parameter, and over which processes.

    Stacked weights [E, out, in] are cut along the model's width, since there are often more shards than experts. FSDP2
    cuts only the first dimension unevenly; with a width that does not divide, as all others are cut.
    """

    def __init__(self, module: nn.Module, mesh: DeviceMesh, experts: DeviceMesh | None) -> None:
        self._dims = {
            parameter: HIDDEN[name]
            for stack in module.modules()
            if isinstance(stack, Experts)
            for name, parameter in stack.named_parameters(recurse=False)
        }
        self._shards = (experts or mesh).size(-1)
        self._experts = _mesh_info(experts) if experts is not None else None

    def __call__(self, parameter: nn.Parameter) -> ShardPlacementResult | Shard | None:
        """Return the dimension, and for split experts their mesh; None: the first one of the unit's mesh."""
        dim = self._dims.get(parameter)
        if dim is None:
            return None
        placement = Shard(dim) if parameter.shape[dim] % self._shards == 0 else None
        return placement if self._experts is None else ShardPlacementResult(placement, self._experts)


def _mesh_info(mesh: DeviceMesh) -> FSDPMeshInfo:
    """Return the mesh as `fully_shard` takes it for single parameters: sharded over its last dimension, replicated over
    the first, where that has more than one process: FSDP would run an all-reduce in a group of one."""
    if mesh.ndim == 1 or mesh.size(0) == 1:
        assert mesh.mesh_dim_names is not None
        return FSDPMeshInfo(mesh[mesh.mesh_dim_names[-1]], shard_mesh_dim=0)
    return HSDPMeshInfo(mesh, replicate_mesh_dim=0, shard_mesh_dim=1)


def replicated(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Gradients are averaged while the backward pass goes on, which FSDP2 does not do on CPUs (a step is 12 % shorter).

    `find_unused_parameters` is for its side effect: without it the buckets are arranged anew after the first step, so
    sums over more than two processes would have other last bits after a restart. PyTorch's C++ would say on every
    rank that there are none, which is so: TORCH_CPP_LOG_LEVEL of the forkserver keeps it quiet. `mesh`: `Meshes.data`.
    """
    return DistributedDataParallel(
        module,
        process_group=mesh.get_group(0),
        forward_sync_buffers=False,
        init_sync=False,
        gradient_as_bucket_view=True,
        find_unused_parameters=True,
    )


def reshard(modules: list[nn.Module]) -> None:
    """Free the parameters that are gathered."""
    for unit in [unit for module in modules for unit in module.modules() if isinstance(unit, FSDPModule)]:
        unit.reshard()


def start_micro_batch(module: nn.Module, is_last: bool) -> None:
    """Keep parameters gathered and gradients unreduced until the last micro-batch: one collective each per step."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(is_last)
        module.set_reshard_after_backward(is_last)
    if isinstance(module, DistributedDataParallel):
        module.require_backward_grad_sync = is_last
