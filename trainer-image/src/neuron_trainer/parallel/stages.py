"""Pipeline stages (B-7): which layers a process holds, and the model without the rest.

Where embedding and head share a weight, the first and the last stage have a copy each. Copies begin equal, since
weights are drawn by name, and stay so bit for bit: both stages add the same two gradients.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from torch import nn

from neuron_api.config import TrainingConfig
from neuron_api.derive.sharding import block_sizes
from neuron_trainer.models.blocks.moe import LoadBalancing

from .backend import LocalParameter

P = TypeVar("P", bound=LocalParameter)


def shared(module: nn.Module) -> dict[str, str]:
    """Further names of parameters of a whole model, and their first ones."""
    first = {parameter: name for name, parameter in module.named_parameters()}
    every = module.named_parameters(remove_duplicate=False)
    return {name: first[parameter] for name, parameter in every if first[parameter] != name}


def mark(own: Iterable[P], aliases: Mapping[str, str]) -> list[P]:
    """Give copies the first name, which checkpoints know them by; returns all parameters with a copy elsewhere."""
    copied = [parameter for parameter in own if parameter.name in aliases or parameter.name in aliases.values()]
    for parameter in copied:
        parameter.name = aliases.get(parameter.name, parameter.name)
        parameter.replicas *= 2
    return copied


class PassThrough(nn.Module):
    """In place of a module that another stage holds: what it is given goes on to the next one."""

    def forward(self, states: Any, *_: Any) -> Any:
        """The first argument."""
        return states


class LocalLayers(nn.Module):
    """Some of the layers of a `ModuleList`, under their numbers in the whole model; iterated as that is."""

    def __init__(self, whole: nn.Module, numbers: Iterable[str]) -> None:
        super().__init__()
        for number in numbers:
            self.add_module(number, whole.get_submodule(number))

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.children())


def own_blocks(config: TrainingConfig, stage: int) -> list[int]:
    """Numbers of the model's blocks on a stage, in the model's order: chunk c of stage p is block c * PP + p."""
    strategy = config.distributed_strategy
    stages, chunks = strategy.pipeline_model_parallel_size, strategy.virtual_pipeline_model_parallel_size
    return [chunk * stages + stage for chunk in range(chunks)]


def prune_to_stage(module: nn.Module, config: TrainingConfig, layers: Sequence[str], block: int) -> None:
    """Reduce a whole model to a block: its layers, what comes before them in the first, what comes after in the last.

    `layers`: names of the repeated layers. Names of what stays do not change.
    """
    strategy = config.distributed_strategy
    blocks = strategy.pipeline_model_parallel_size * strategy.virtual_pipeline_model_parallel_size
    sizes = block_sizes(len(layers), blocks, config.model.pipeline_cuts or ())
    assert sizes is not None, "preflight refuses layers that cannot be split"
    first = sum(sizes[:block])
    own = layers[first : first + sizes[block]]
    before, after = _around(module, layers)
    for name in (*(before if block > 0 else ()), *(after if block < blocks - 1 else ())):
        module.set_submodule(name, PassThrough())
    holder = own[0].rpartition(".")[0]
    module.set_submodule(holder, LocalLayers(module.get_submodule(holder), [name.rpartition(".")[2] for name in own]))


def _around(module: nn.Module, layers: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of the modules with something to do before the layers, and after them, in the model's order: those with
    parameters of their own, and the load-balancing loss."""
    order = [name for name, _ in module.named_modules()]
    start, inside = order.index(layers[0]), tuple(f"{name}." for name in layers)
    beside = [
        (place, name)
        for place, name in enumerate(order)
        if name not in layers and not name.startswith(inside) and _acts(module.get_submodule(name))
    ]
    return [name for place, name in beside if place < start], [name for place, name in beside if place > start]


def _acts(module: nn.Module) -> bool:
    return isinstance(module, LoadBalancing) or next(module.parameters(recurse=False), None) is not None
