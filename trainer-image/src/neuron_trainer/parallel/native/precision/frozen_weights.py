"""The weights of a model that no longer changes: what a first model computes with at one moment."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from neuron_api.derive.precision import PrecisionPolicy
from neuron_trainer import rounding
from neuron_trainer.parallel.native.parameters import NativeParameter

from . import dtypes


@torch.no_grad()
def copy(
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
