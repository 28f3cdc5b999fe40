"""What the optimizers that torch does not have share: state from the start, a count of steps, one pass over groups."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Parameters = Iterable[nn.Parameter] | Iterable[dict[str, Any]]
"""Parameters, or groups of them with arguments of their own."""


class EagerStateOptimizer(Optimizer):
    """`state[p]["step"]` (fp32 scalar on the CPU) counts the updates of p; the rest is what `init_state` returns."""

    def __init__(self, params: Parameters, defaults: dict[str, Any]) -> None:
        super().__init__(params, defaults)
        for group in self.param_groups:
            for leaf in group["params"]:
                self.state[leaf] = {"step": torch.tensor(0.0), **self.init_state(group, leaf)}

    def init_state(self, group: dict[str, Any], leaf: Tensor) -> dict[str, Tensor]:
        """The state of a parameter before the first step."""
        raise NotImplementedError

    def update(self) -> None:
        """One update of all parameters that have a gradient; their steps are counted already."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all groups; returns what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for _, leaf in self.trained():
            self.state[leaf]["step"] += 1
        self.update()
        return loss

    def trained(self) -> list[tuple[dict[str, Any], nn.Parameter]]:
        """Group and parameter of each that has a gradient."""
        return [(group, leaf) for group in self.param_groups for leaf in group["params"] if leaf.grad is not None]
