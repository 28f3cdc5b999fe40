"""`adamw_fp32OptState`: AdamW of neuronx-distributed with fp32 moments (B-8).

It is not torch's AdamW: eps is added to sqrt(v) before the bias correction, and the decay comes after the update.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer


class AdamWFP32OptState(Optimizer):
    """m = b1 m + (1-b1) g; v = b2 v + (1-b2) g²; p -= lr sqrt(1-b2^t)/(1-b1^t) m/(sqrt(v)+eps); p -= lr wd p."""

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        correct_bias: bool = True,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "correct_bias": correct_bias}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all groups."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update(group, [p for p in group["params"] if p.grad is not None])
        return loss

    def _update(self, group: dict[str, Any], parameters: list[torch.Tensor]) -> None:
        """All tensors of a group in one call per operation: 8 calls in place of 8 per parameter."""
        if not parameters:
            return
        gradients = [p.grad.float() for p in parameters if p.grad is not None]
        means, squares, step = self._states(parameters)
        beta1, beta2 = group["betas"]
        torch._foreach_mul_(means, beta1)
        torch._foreach_add_(means, gradients, alpha=1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - beta2)
        size = group["lr"]
        if group["correct_bias"]:
            size *= math.sqrt(1 - beta2**step) / (1 - beta1**step)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, group["eps"])
        torch._foreach_addcdiv_(parameters, means, roots, value=-size)
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])

    def _states(self, parameters: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor], float]:
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                fresh(state, parameter)
            state["step"] += 1
        states = [self.state[p] for p in parameters]
        return [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states], states[0]["step"].item()


def fresh(state: dict[str, Any], parameter: torch.Tensor) -> None:
    """Moments of zero, as both optimizers keep them: `step` fp32 scalar, the rest fp32 like the shard."""
    state["step"] = torch.tensor(0.0)
    state["exp_avg"] = torch.zeros_like(parameter, dtype=torch.float32)
    state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=torch.float32)
