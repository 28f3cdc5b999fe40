"""Names of the modules that get adapters, by the end of their names (`peft.target_modules`), and of the adapters'
parameters, after the module that they adapt, as PEFT names them.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from torch import nn

from neuron_api.derive.adapters import JOINED

FUSED: Final[Mapping[str, tuple[str, ...]]] = {
    path.rpartition(".")[2]: tuple(part.rpartition(".")[2] for part in parts) for path, parts in JOINED.items()
}
"""Targets of several linears with the same input, which share A as in neuronx-distributed's fused layers."""


@dataclass(frozen=True, slots=True)
class AdapterGroup:
    """Modules that share one A; B is each one's own."""

    target: str
    """The value of `target_modules`."""
    names: tuple[str, ...]
    """Of the modules, in the model's order."""


def groups(module: nn.Module, targets: Iterable[str]) -> list[AdapterGroup]:
    """Return the adapted modules of a model, or of a part of it, in its order; each is in one group."""
    adapted = [name for name, child in module.named_modules() if isinstance(child, nn.Linear | nn.Embedding)]
    order = {name: place for place, name in enumerate(adapted)}
    result: dict[tuple[str, ...], AdapterGroup] = {}
    for target in targets:
        for names in _matches(adapted, target):
            result.setdefault(names, AdapterGroup(target, names))
    return sorted(result.values(), key=lambda group: order[group.names[0]])


def _matches(names: Sequence[str], target: str) -> list[tuple[str, ...]]:
    parts = FUSED.get(target.rpartition(".")[2])
    if parts is None:
        return [(name,) for name in names if _ends(name, target)]
    prefix = target.removesuffix(target.rpartition(".")[2])
    first = [name.removesuffix(parts[0]) for name in names if _ends(name, prefix + parts[0])]
    whole = [tuple(parent + part for part in parts) for parent in first]
    return [tuple(sorted(group, key=names.index)) for group in whole if set(group) <= set(names)]


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


A: Final = "lora_A"
B: Final = "lora_B"
EMBEDDING_A: Final = "lora_embedding_A"
EMBEDDING_B: Final = "lora_embedding_B"
DROPOUT: Final = "lora_dropout"

_WEIGHTS: Final = (f".{A}.weight", f".{B}.weight", f".{EMBEDDING_A}", f".{EMBEDDING_B}")


def is_adapter(parameter: str) -> bool:
    """Return whether a parameter is an adapter's; every other one is the base's."""
    return f".{parameter}".endswith(_WEIGHTS)


def is_trained(parameter: str, bias: str, adapted: frozenset[str]) -> bool:
    """Return whether a parameter is trained: an adapter's, or by `lora_bias` a bias of any or of an `adapted` module.

    `bias`: `none`, `all` or `lora_only`, as in PEFT.
    """
    module, _, last = parameter.rpartition(".")
    return is_adapter(parameter) or (last == "bias" and (bias == "all" or (bias == "lora_only" and module in adapted)))


def shared_a(module: str, parameters: Container[str]) -> str:
    """Return the name of the parameter A of an adapted linear: its own, or that of the fused target it is a part of."""
    parent, dot, last = module.rpartition(".")
    parts = next((parts for parts in FUSED.values() if last in parts), ())
    for part in (last, *parts):
        if (name := f"{parent}{dot}{part}.{A}.weight") in parameters:
            return name
    raise KeyError(f"{module} has no {A}")
