"""The weights of a model that no longer changes: what a first model computes with at one moment."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neuron_api.derive.precision import PrecisionPolicy
from neuron_trainer import rounding
from neuron_trainer.parallel.native.parameters import NativeParameter

from . import dtypes


def cast(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace each parameter by one of this dtype; a shared one stays shared."""
    for one, places in _places(module).items():
        parameter = nn.Parameter(one.detach().to(dtype), requires_grad=False)
        for owner, name in places:
            setattr(owner, name, parameter)


def _places(module: nn.Module) -> dict[Tensor, list[tuple[nn.Module, str]]]:
    places: dict[Tensor, list[tuple[nn.Module, str]]] = {}
    for owner in module.modules():
        for name, one in owner.named_parameters(recurse=False, remove_duplicate=False):
            places.setdefault(one, []).append((owner, name))
    return places


@torch.no_grad()
def copy(
    source: Sequence[NativeParameter],
    target: Sequence[NativeParameter],
    policy: PrecisionPolicy,
    *,
    seed: int,
    updates: int,
) -> None:
    """Give the parameters of a model those of another, which is split alike, as after so many updates."""
    for own, frozen in zip(source, target, strict=True):
        frozen.leaf.copy_(_computed(own, policy, rounding.key(seed, updates, own.name)))
        frozen.whole.requires_grad_(False)


def _computed(parameter: NativeParameter, policy: PrecisionPolicy, key: int) -> Tensor:
    """Return a master as it is computed with."""
    if policy.has_masters and policy.is_stochastic:
        return rounding.stochastic(parameter.leaf, parameter.place, key)
    return parameter.leaf.to(dtypes.TORCH[policy.compute])
