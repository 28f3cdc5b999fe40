"""Stochastically rounded copies of fp32 masters, in which a step computes (`mixed_precisionSR`).

FSDP rounds to the nearest when it gathers. So while a unit is gathered its masters are replaced by values of bf16,
rounded at random, and put back: no second copy is kept, and what is gathered depends on masters, seed and step only.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from neuron_trainer import rounding
from neuron_trainer.parallel.native.parameters import NativeParameter


class RoundedWeights:
    """Of the FSDP units in some modules."""

    def __init__(self, modules: Sequence[nn.Module], parameters: Sequence[NativeParameter], seed: int) -> None:
        self._seed = seed
        of_name = {id(parameter.whole): parameter for parameter in parameters}
        # The modules of one unit share its state.
        by_unit: dict[int, tuple[FSDPModule, list[NativeParameter]]] = {}
        for unit in [unit for module in modules for unit in module.modules() if isinstance(unit, FSDPModule)]:
            own = by_unit.setdefault(id(unit._get_fsdp_state()), (unit, []))[1]
            own += [of_name[id(parameter)] for parameter in _own(unit) if id(parameter) in of_name]
        self._units = list(by_unit.values())

    @torch.no_grad()
    def gather(self, updates: int) -> None:
        """Gather every unit as after so many updates; what is gathered already stays. A collective."""
        for unit, parameters in self._units:
            masters = [parameter.leaf.detach().clone() for parameter in parameters]
            for parameter in parameters:
                key = rounding.key(self._seed, updates, parameter.name)
                parameter.leaf.copy_(rounding.stochastic(parameter.leaf.detach(), parameter.place, key))
            unit.unshard()
            for parameter, master in zip(parameters, masters, strict=True):
                parameter.leaf.copy_(master)


def _own(unit: FSDPModule) -> list[nn.Parameter]:
    """Parameters of a unit without those of the units in it."""
    assert isinstance(unit, nn.Module)
    below = [child for child in unit.modules() if child is not unit and isinstance(child, FSDPModule)]
    inner = {id(parameter) for child in below for parameter in child.parameters()}
    return [parameter for parameter in unit.parameters() if id(parameter) not in inner]
