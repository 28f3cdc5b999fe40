"""Data parallelism: FSDP2 for zero1 sharding and mixed precision, DistributedDataParallel for plain replicas.

Buckets (`bucket_size_collectives`): modules whose gradients are reduced, and weights gathered, together. FSDP2 has one
collective for each unit, and a unit is made of modules; so a bucket is filled module by module, in the order in which
they run, and is never larger than asked unless one module alone is.
"""

from collections.abc import Callable, Iterator, Set
from functools import partial
from typing import Any, Final

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard
from torch.nn.parallel import DistributedDataParallel

from neuron_trainer.models.blocks.moe.experts import Experts
from neuron_trainer.parallel.native.pipeline.stages import LocalLayers
from neuron_trainer.parallel.native.tensor.experts import HIDDEN

MEBI: Final = 2**20


def units(
    module: nn.Module, layers: list[str], megabytes: int | None, apart: Set[nn.Parameter]
) -> list[list[nn.Module]]:
    """Without a size each layer is one. What is in none (a weight that two modules share) is left to the root.

    `apart`: parameters that belong to units already.
    """
    if megabytes is None:
        return [[module.get_submodule(name)] for name in layers]
    buckets: list[list[nn.Module]] = []
    filled, limit = 0, megabytes * MEBI
    for part in _parts(module, limit, apart | _shared(module)):
        size = _size(part, apart)
        if not buckets or filled + size > limit:
            buckets, filled = [*buckets, []], 0
        buckets[-1].append(part)
        filled += size
    return buckets


def _parts(module: nn.Module, limit: int, excluded: Set[nn.Parameter]) -> Iterator[nn.Module]:
    """Modules that run as one, as large as fits, without those that have parameters which are left out."""
    for child in module.children():
        is_whole = excluded.isdisjoint(child.parameters())
        is_single = next(child.parameters(recurse=False), None) is not None
        if not _size(child, excluded):
            continue
        if isinstance(child, nn.ModuleList | LocalLayers) or not (is_single or (is_whole and _size(child) <= limit)):
            yield from _parts(child, limit, excluded)
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
) -> None:
    """Shard each layer, or what fits into a `bucket` of so many MiB, and then the rest as units.

    Parameters stay gathered from forward to the end of backward. With expert parallelism the `experts` of each layer
    are a unit of their own, over the processes that hold the same. Frozen parameters are in no unit: they stay whole on
    each process, are never gathered and have nothing to reduce.
    """
    frozen = {parameter for parameter in module.parameters() if not parameter.requires_grad}
    shard = partial(fully_shard, mp_policy=precision, reshard_after_forward=False, ignored_params=frozen)
    apart: set[nn.Parameter] = set()
    if experts is not None:
        for stack in [child for child in module.modules() if isinstance(child, Experts)]:
            stack.register_forward_hook(_no_view)
            shard(stack, mesh=experts, shard_placement_fn=_placement([stack], experts.size(-1)))
            apart |= set(stack.parameters())
    for unit in units(module, layers, bucket, apart):
        for part in unit:
            part.register_forward_hook(_no_view)
        shard(unit, mesh=mesh, shard_placement_fn=_placement(unit, mesh.size(-1)))
    shard(module, mesh=mesh, shard_placement_fn=_placement([module], mesh.size(-1)))


def _no_view(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
    """FSDP2 hooks its backward pass to a unit's output, which a view could lose."""
    return output.clone() if isinstance(output, Tensor) and output._is_view() else output


def _placement(unit: list[nn.Module], shards: int) -> Callable[[nn.Parameter], Shard | None]:
    """Stacked weights [E, out, in] are cut along the model's width, since there are often more shards than experts.

    FSDP2 cuts only the first dimension unevenly; with a width that does not divide, as all others are cut.
    """
    stacks = [child for part in unit for child in part.modules() if isinstance(child, Experts)]
    dims = {
        id(parameter): HIDDEN[name] for stack in stacks for name, parameter in stack.named_parameters(recurse=False)
    }

    def place(parameter: nn.Parameter) -> Shard | None:
        dim = dims.get(id(parameter))
        return Shard(dim) if dim is not None and parameter.shape[dim] % shards == 0 else None

    return place


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
