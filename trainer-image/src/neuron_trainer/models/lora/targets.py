"""Which modules of a model get adapters: `peft.target_modules`, by the end of their names."""

from collections.abc import Iterable, Mapping, Sequence
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
