"""`sgd`: torch's, with the momentum there before the first step, so that a checkpoint can be loaded into it."""

from collections.abc import Callable
from typing import Any

import torch


class SGD(torch.optim.SGD):
    """buf = momentum buf + (1 - dampening) g; the first step takes g undampened, as torch's does."""

    def __init__(
        self,
        params: Any,
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            weight_decay=weight_decay,
            momentum=momentum,
            dampening=dampening,
            nesterov=nesterov,
            foreach=foreach,
        )
        self._dampening = [group["dampening"] for group in self.param_groups]
        for group in self.param_groups:
            for leaf in group["params"]:
                buffer = {"momentum_buffer": torch.zeros_like(leaf)} if group["momentum"] else {}
                self.state[leaf] = {"step": torch.tensor(0.0), **buffer}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all groups."""
        for group, dampening in zip(self.param_groups, self._dampening, strict=True):
            is_first = all(self.state[leaf]["step"] == 0 for leaf in group["params"])
            group["dampening"] = 0 if is_first else dampening
        for state in self.state.values():
            state["step"] += 1
        return super().step(closure)
