"""What a run with pairs is compared with: the model that it began with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from neuron_api.derive.precision import PrecisionPolicy
from neuron_trainer import rounding
from neuron_trainer.models.lora import names
from neuron_trainer.parallel.dtypes import TORCH

from .gradients import ComputeWeights
from .parameters import XlaParameter, part_of


class StartBiases:
    """Copies of the biases that are trained (`lora_bias`), of this process's parts; none where none is."""

    def __init__(self, parameters: Sequence[XlaParameter], weights: ComputeWeights) -> None:
        biases = [parameter.leaf for parameter in parameters if not names.is_adapter(parameter.name)]
        self._pairs = [(leaf.detach(), leaf.detach().clone()) for leaf in biases]
        self._weights = weights

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Put them in the places of the trained ones, and these back."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for own, other in self._pairs:
            before = own.clone()
            own.copy_(other)
            other.copy_(before)
        if self._pairs:
            self._weights.expire()


@torch.no_grad()
def copy_frozen(
    source: Sequence[XlaParameter],
    target: Sequence[XlaParameter],
    policy: PrecisionPolicy,
    *,
    seed: int,
    updates: int,
) -> None:
    """Give the parameters of a model that is not trained those of another as after so many updates, one whole tensor
    at a time. Both have the same parameters in the same order. A collective."""
    for own, frozen in zip(source, target, strict=True):
        whole = own.gathered()
        if policy.has_masters and policy.is_stochastic:
            place = rounding.Place(tuple(whole.shape), (0,) * whole.dim())
            whole = rounding.stochastic(whole, place, rounding.key(seed, updates, own.name))
        for division in frozen.divisions:
            whole = part_of(whole, division)
        frozen.used.copy_(whole.to(TORCH[policy.compute]))
