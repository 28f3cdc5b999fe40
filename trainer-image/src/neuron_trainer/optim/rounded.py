"""Updates of weights and state that are kept in bf16 (B-3: bf16SR, and manual without master weights).

The arithmetic of a step is fp32, as the device's is, and what is kept is rounded when it is done: at random in
proportion, or to the nearest. Rounded to the nearest, an update of less than 1/256 of a weight would be lost, and a
second moment, which loses 1/1000 a step, would never fall.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from neuron_trainer import rounding
from neuron_trainer.parallel import LocalParameter

from . import state


class Rounded:
    """Hooks on an optimizer; what is fp32 anyway is left alone."""

    def __init__(self, optimizer: Optimizer, parameters: Sequence[LocalParameter], seed: int | None) -> None:
        """`seed`: of the random rounding; None: to the nearest."""
        self._parameters, self._seed = parameters, seed
        self._narrowed: list[tuple[Tensor, Tensor, LocalParameter, str]] = []
        """Tensors in bf16, what stands for them in fp32, and their name."""
        optimizer.register_step_pre_hook(self._widen)
        optimizer.register_step_post_hook(self._round)

    @torch.no_grad()
    def _widen(self, optimizer: Optimizer, *_: Any) -> None:
        for parameter in self._parameters:
            leaf = parameter.leaf
            if leaf.grad is None:
                continue
            gradient, leaf.grad = leaf.grad, None
            for name, tensor in [("", leaf), *optimizer.state[leaf].items()]:
                if tensor.dtype is torch.bfloat16:
                    self._narrowed.append((tensor.data, tensor, parameter, name))
                    tensor.data = tensor.data.float()
            leaf.grad = gradient.to(leaf.dtype)

    @torch.no_grad()
    def _round(self, optimizer: Optimizer, *_: Any) -> None:
        for narrow, tensor, parameter, name in self._narrowed:
            parameter.leaf.grad = None
            step = int(optimizer.state[parameter.leaf][state.STEP])
            narrow.copy_(self._rounded(tensor.data, parameter, f"{parameter.name}/{name}", step))
            tensor.data = narrow
        self._narrowed.clear()

    def _rounded(self, wide: Tensor, parameter: LocalParameter, name: str, step: int) -> Tensor:
        if self._seed is None:
            return wide
        return rounding.stochastic(wide, parameter.place, rounding.key(self._seed, step, name))
