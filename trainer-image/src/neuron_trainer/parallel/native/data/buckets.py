"""Which modules' gradients are reduced together, and their weights gathered: `bucket_size_collectives`.

FSDP2 has one collective for each unit, and a unit is made of modules; so a bucket is filled module by module, in the
order in which they run, and is never larger than asked unless one module alone is.
"""

from collections.abc import Iterator, Set
from typing import Final

from torch import nn
from torch.distributed.tensor import DTensor

from neuron_trainer.parallel.native.pipeline.stages import LocalLayers

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
