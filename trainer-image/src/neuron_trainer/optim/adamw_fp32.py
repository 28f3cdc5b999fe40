"""`adamw_fp32OptState`: AdamW of neuronx-distributed with fp32 moments (B-8).

It is not torch's AdamW: eps is added to sqrt(v) before the bias correction, and the decay comes after the update.
"""

import math
from typing import Any

import torch

from .eager_state import EagerStateOptimizer, Parameters


class AdamWFP32OptState(EagerStateOptimizer):
    """m = b1 m + (1-b1) g; v = b2 v + (1-b2) g²; p -= lr sqrt(1-b2^t)/(1-b1^t) m/(sqrt(v)+eps); p -= lr wd p."""

    def __init__(
        self,
        params: Parameters,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        correct_bias: bool = True,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "correct_bias": correct_bias}
        )

    def init_state(self, _: dict[str, Any], leaf: torch.Tensor) -> dict[str, torch.Tensor]:
        """Moments of zero: fp32, like the shard."""
        return {name: torch.zeros_like(leaf, dtype=torch.float32) for name in ("exp_avg", "exp_avg_sq")}

    def update(self) -> None:
        """All tensors of a group in one call per operation: 8 calls in place of 8 per parameter."""
        for group in self.param_groups:
            if parameters := [p for p in group["params"] if p.grad is not None]:
                self._update(group, parameters)

    def _update(self, group: dict[str, Any], parameters: list[torch.Tensor]) -> None:
        gradients = [p.grad.float() for p in parameters if p.grad is not None]
        states = [self.state[p] for p in parameters]
        means, squares = [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states]
        beta1, beta2 = group["betas"]
        torch._foreach_mul_(means, beta1)
        torch._foreach_add_(means, gradients, alpha=1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - beta2)
        size = group["lr"]
        if group["correct_bias"]:
            step = states[0]["step"].item()
            size *= math.sqrt(1 - beta2**step) / (1 - beta1**step)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, group["eps"])
        torch._foreach_addcdiv_(parameters, means, roots, value=-size)
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
