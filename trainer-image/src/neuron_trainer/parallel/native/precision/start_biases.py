"""The biases that a run with adapters began with: without adapters and with these the model is its start model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from neuron_trainer.models.lora import names
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
