"""Weights that a step computes with beside the masters that are updated.

`WorkingWeights`: where no other process shares the weights. Where some do, FSDP2 gathers weights in the dtype of
computing and reduces gradients in that of accumulation. For one process it packs, copies and reduces all the same,
which costs 6 % of a step; the numbers are equal to the bit (docs/design/014-precision-and-late-metrics.md).

`frozen_copy`: the weights of a model that no longer changes: what a first model computes with at one moment.

`RoundedWeights`: stochastically rounded copies of fp32 masters (`mixed_precisionSR`). FSDP rounds to the nearest when
it gathers. So while a unit is gathered its masters are replaced by values of bf16, rounded at random, and put back: no
second copy is kept, and what is gathered depends on masters, seed and step only.

`StartBiases`: those that a run with adapters began with: without adapters and with these the model is its start model.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from neuron_api.derive.precision import PrecisionPolicy
from neuron_trainer import rounding
from neuron_trainer.models.lora import names
from neuron_trainer.parallel import dtypes
from neuron_trainer.parallel.native.data import data_parallel
from neuron_trainer.parallel.native.parameters import NativeParameter


class StartBiases:
    """Copies of the biases that are trained (`lora_bias`), of this process's parts; none where none is."""

    def __init__(self, parameters: Sequence[NativeParameter]) -> None:
        biases = [parameter.leaf for parameter in parameters if not names.is_adapter(parameter.name)]
        self._pairs = [(leaf.detach(), leaf.detach().clone()) for leaf in biases]

    @contextmanager
    def restored(self, modules: list[nn.Module]) -> Iterator[None]:
        """Put them in the places of the trained ones, and these back; what is gathered is freed before and after."""
        self._swap(modules)
        try:
            yield
        finally:
            self._swap(modules)

    @torch.no_grad()
    def _swap(self, modules: list[nn.Module]) -> None:
        for own, other in self._pairs:
            before = own.clone()
            own.copy_(other)
            other.copy_(before)
        if self._pairs:
            data_parallel.reshard(modules)


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


@torch.no_grad()
def frozen_copy(
    source: Sequence[NativeParameter], target: Sequence[Tensor], policy: PrecisionPolicy, *, seed: int, updates: int
) -> None:
    """Give the parameters of a model those of another as after so many updates, one whole tensor at a time.

    Both have the same parameters in the same order; the second is not cut by data parallelism. A collective.
    """
    for own, frozen in zip(source, target, strict=True):
        whole = _computed(own.gathered(), policy, rounding.key(seed, updates, own.name))
        if isinstance(frozen, DTensor):
            # src_data_rank None: every process has the same whole tensor and cuts its own part, no broadcast.
            whole = distribute_tensor(whole, frozen.device_mesh, frozen.placements, src_data_rank=None)
        frozen.copy_(whole)


def _computed(master: Tensor, policy: PrecisionPolicy, key: int) -> Tensor:
    """Return a whole master as it is computed with."""
    if policy.has_masters and policy.is_stochastic:
        return rounding.stochastic(master, rounding.Place(tuple(master.shape), (0,) * master.dim()), key)
    return master.to(dtypes.TORCH[policy.compute])


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
