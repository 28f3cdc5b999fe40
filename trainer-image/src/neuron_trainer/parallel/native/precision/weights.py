"""Weights that a step computes with beside the masters that are updated.

`WorkingWeights`: where no other process shares the weights. Where some do, FSDP2 gathers weights in the dtype of
computing and reduces gradients in that of accumulation. For one process it packs, copies and reduces all the same,
which costs 6 % of a step; the numbers are equal to the bit (docs/design/014-precision-and-late-metrics.md).

`RoundedWeights`: stochastically rounded copies of fp32 masters (`mixed_precisionSR`). FSDP rounds to the nearest when
it gathers. So while a unit is gathered its masters are replaced by values of bf16, rounded at random, and put back: no
second copy is kept, and what is gathered depends on masters, seed and step only.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from neuron_api.derive.precision import PrecisionPolicy
from neuron_trainer import rounding
from neuron_trainer.parallel import dtypes
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


def cut_as(parameter: Tensor, whole: Tensor) -> Tensor:
    """Return a whole tensor as a parameter of the same name is cut, which every process does for itself."""
    if not isinstance(parameter, DTensor):
        return whole
    # src_data_rank None: every process has the same whole tensor and cuts its own part, no broadcast.
    return distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)


class WorkingWeights:
    """Takes the masters' places in the modules; autograd adds up gradients in the dtype of accumulation."""

    def __init__(
        self, modules: Sequence[nn.Module], parameters: Sequence[NativeParameter], policy: PrecisionPolicy, seed: int
    ) -> None:
        self._parameters, self._seed = parameters, seed if policy.is_stochastic else None
        self._locals: list[Tensor] = []
        """The working weights' own storage; empty without masters: they are what is updated."""
        if policy.has_masters:
            for parameter in parameters:
                local = torch.empty_like(parameter.leaf, dtype=dtypes.TORCH[policy.compute], requires_grad=False)
                parameter.used = nn.Parameter(_placed_as(parameter.whole, local))
                self._locals.append(local)
            _replace(modules, {parameter.whole: parameter.used for parameter in parameters})
        for parameter in parameters:
            # An older PyTorch has no such attribute, would take it and not heed it: this fails there.
            assert parameter.used.grad_dtype is parameter.used.dtype
            parameter.used.grad_dtype = dtypes.TORCH[policy.accumulation]

    @torch.no_grad()
    def gather(self, updates: int) -> None:
        """Round the masters as after so many updates. No collective."""
        if not self._locals:
            return
        masters = [parameter.leaf.detach() for parameter in self._parameters]
        if self._seed is None:
            torch._foreach_copy_(self._locals, masters)
            return
        for parameter, master, local in zip(self._parameters, masters, self._locals, strict=True):
            key = rounding.key(self._seed, updates, parameter.name)
            local.copy_(rounding.stochastic(master, parameter.place, key))


def _placed_as(whole: Tensor, local: Tensor) -> Tensor:
    if not isinstance(whole, DTensor):
        return local
    return DTensor.from_local(
        local, whole.device_mesh, whole.placements, run_check=False, shape=whole.shape, stride=whole.stride()
    )


def _replace(modules: Sequence[nn.Module], of_masters: dict[Tensor, Tensor]) -> None:
    """Everywhere: a shared parameter has several places. A frozen one has no master and stays."""
    for owner in [child for module in modules for child in module.modules()]:
        for name, parameter in list(owner.named_parameters(recurse=False, remove_duplicate=False)):
            setattr(owner, name, of_masters.get(parameter, parameter))
