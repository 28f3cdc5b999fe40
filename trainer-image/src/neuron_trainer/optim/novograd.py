"""`novograd`: one second moment for each whole parameter (Ginsburg et al., arXiv:1905.11286; parameters are NeMo's)."""

from typing import Any, Final

import torch
from torch import Tensor

from neuron_trainer.parallel import sum_over_parts

from .eager_state import EagerStateOptimizer, Parameters
from .shard_layouts import ShardLayouts, square_sum

_LUC_EPS: Final = 1e-8


class NovoGrad(EagerStateOptimizer):
    """v = b2 v + (1-b2) ‖g‖², at first ‖g‖²; m = b1 m + c (g/(sqrt(v)+eps) + wd p); p -= rate m.

    c is 1-b1 with `grad_averaging`, else 1. `amsgrad` divides by the largest v so far. `luc`: rate is at most
    luc_trust ‖p‖ / (‖m‖ + 1e-8), else lr. Norms are of whole parameters: one small all-reduce for all of them per
    process group that divides parameters, with `luc` two. `exp_avg` is like the shard; `exp_avg_sq` is an fp32 scalar.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float,
        betas: tuple[float, float] = (0.95, 0.98),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        grad_averaging: bool = False,
        amsgrad: bool = False,
        luc: bool = False,
        luc_trust: float = 1e-3,
        layouts: ShardLayouts | None = None,
    ) -> None:
        self._layouts = layouts or ShardLayouts()
        averaging = {"grad_averaging": grad_averaging, "amsgrad": amsgrad}
        clipping = {"luc": luc, "luc_trust": luc_trust}
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, **averaging, **clipping}
        )

    def init_state(self, group: dict[str, Any], leaf: Tensor) -> dict[str, Tensor]:
        """See the class."""
        names = ("exp_avg_sq", "max_exp_avg_sq") if group["amsgrad"] else ("exp_avg_sq",)
        scalars = {name: torch.zeros((), device=leaf.device) for name in names}
        return {"exp_avg": torch.zeros_like(leaf), **scalars}

    def update(self) -> None:
        """No tensor is read on the host."""
        trained = self.trained()
        squares = self._sums([(leaf, square_sum(leaf.grad)) for _, leaf in trained if leaf.grad is not None])
        for (group, leaf), square in zip(trained, squares, strict=True):
            self._average(group, leaf, square)
        if self.defaults["luc"]:
            self._apply_clipped(trained)
            return
        for group, leaf in trained:
            leaf.sub_(self.state[leaf]["exp_avg"], alpha=group["lr"])

    def _apply_clipped(self, trained: list[tuple[dict[str, Any], torch.nn.Parameter]]) -> None:
        moments = [(leaf, square_sum(self.state[leaf]["exp_avg"])) for _, leaf in trained]
        sums = self._sums(moments + [(leaf, square_sum(leaf)) for _, leaf in trained])
        for (group, leaf), moment, weight in zip(trained, sums[: len(trained)], sums[len(trained) :], strict=True):
            rate = group["luc_trust"] * weight.sqrt() / (moment.sqrt() + _LUC_EPS)
            leaf.sub_(self.state[leaf]["exp_avg"] * rate.clamp(max=group["lr"]))

    def _sums(self, shares: list[tuple[torch.nn.Parameter, Tensor]]) -> list[Tensor]:
        return sum_over_parts([(share, self._layouts.cuts(leaf)) for leaf, share in shares])

    def _average(self, group: dict[str, Any], leaf: Tensor, square: Tensor) -> None:
        """Both moments. v begins with the first gradient that is not zero: not every parameter has one at step 1."""
        state, (beta1, beta2) = self.state[leaf], group["betas"]
        second = state["exp_avg_sq"]
        second.copy_(torch.where(second == 0, square, beta2 * second + (1 - beta2) * square))
        if group["amsgrad"]:
            second = state["max_exp_avg_sq"].copy_(torch.maximum(state["max_exp_avg_sq"], second))
        weight = 1 - beta1 if group["grad_averaging"] else 1.0
        assert leaf.grad is not None
        state["exp_avg"].mul_(beta1).add_(leaf.grad / (second.sqrt() + group["eps"]), alpha=weight)
        if group["weight_decay"]:
            state["exp_avg"].add_(leaf, alpha=weight * group["weight_decay"])
