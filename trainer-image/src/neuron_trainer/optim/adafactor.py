"""`adafactor`: second moments of matrices as row and column means (Shazeer, Stern, arXiv:1804.04235; B-8)."""

from typing import Any, Final

import torch
from torch import Tensor

from neuron_trainer.parallel import Statistic, sum_over_parts

from .eager_state import EagerStateOptimizer, Parameters
from .shard_layouts import ShardLayouts, square_sum

SQUARES: Final = "exp_avg_sq"
"""State of a vector: like the shard, fp32."""
ROWS: Final = "exp_avg_sq_row"
"""State of a parameter of two or more dimensions: all its dimensions but the last, fp32."""
COLUMNS: Final = "exp_avg_sq_col"
"""All but the last but one, fp32."""


class Adafactor(EagerStateOptimizer):
    """û = g / sqrt(v) with v from row and column means, clipped to RMS `clip_threshold`; p -= rate (wd p + û).

    rate = lr max(eps[1], RMS(p)) with `scale_parameter`, else lr; `relative_step` is a schedule
    (`learning_rate.relative`). With `beta1` the steps rate û are averaged. Means and RMS are of whole parameters: three
    small all-reduces for all of them per process group that divides parameters. The gradients are overwritten: û of all
    parameters is needed at once, and a second copy would cost as much memory as this optimizer saves.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float,
        eps: tuple[float, float] = (1e-30, 1e-3),
        clip_threshold: float = 1.0,
        decay_rate: float = -0.8,
        beta1: float | None = None,
        weight_decay: float = 0.0,
        scale_parameter: bool = True,
        layouts: ShardLayouts | None = None,
    ) -> None:
        self._layouts = layouts or ShardLayouts()
        squares = {"eps": eps, "decay_rate": decay_rate, "clip_threshold": clip_threshold}
        rate = {"lr": lr, "weight_decay": weight_decay, "scale_parameter": scale_parameter}
        super().__init__(params, {**rate, **squares, "beta1": beta1})

    def init_state(self, group: dict[str, Any], leaf: Tensor) -> dict[str, Tensor]:
        """See the names above; with `beta1` a first moment like the shard."""
        first = {} if group["beta1"] is None else {"exp_avg": torch.zeros_like(leaf)}
        if leaf.ndim < 2:
            return {**first, SQUARES: torch.zeros_like(leaf, dtype=torch.float32)}
        rows = torch.zeros(leaf.shape[:-1], device=leaf.device)
        columns = torch.zeros(leaf.shape[:-2] + leaf.shape[-1:], device=leaf.device)
        return {**first, ROWS: rows, COLUMNS: columns}

    def update(self) -> None:
        """Three rounds of sums over whole parameters; no tensor is read on the host."""
        trained = self.trained()
        weights = self._average(trained)
        self._precondition([leaf for _, leaf in trained])
        updates = sum_over_parts([(square_sum(_gradient(leaf)), self._layouts.cuts(leaf)) for _, leaf in trained])
        for (group, leaf), weight, update in zip(trained, weights, updates, strict=True):
            self._apply(group, leaf, self._rms(leaf, weight), self._rms(leaf, update))

    def _average(self, trained: list[tuple[dict[str, Any], torch.nn.Parameter]]) -> list[Tensor]:
        """The second moments, with the decay 1 - t^decay_rate; returns the square sums of the weights."""
        shares: list[Statistic] = [(square_sum(leaf), self._layouts.cuts(leaf)) for _, leaf in trained]
        for group, leaf in trained:
            squares = _gradient(leaf).float().square().add_(group["eps"][0])
            if leaf.ndim < 2:
                self.state[leaf][SQUARES].lerp_(squares, self._newest(group, leaf))
            else:
                shares += [(squares.sum(dim), self._layouts.cuts(leaf, dim)) for dim in (-1, -2)]
        sums = iter(sum_over_parts(shares))
        weights = [next(sums) for _ in trained]
        for group, leaf in trained:
            for name, dim in ((ROWS, -1), (COLUMNS, -2)) if leaf.ndim >= 2 else ():
                mean = next(sums) / self._layouts.shape(leaf)[dim]
                self.state[leaf][name].lerp_(mean, self._newest(group, leaf))
        return weights

    def _newest(self, group: dict[str, Any], leaf: Tensor) -> float:
        """Weight of the newest squares: 1 in the first step."""
        return float(self.state[leaf]["step"].item() ** group["decay_rate"])

    def _precondition(self, leaves: list[torch.nn.Parameter]) -> None:
        """Divide g by sqrt(v), in place; v of a matrix is rows ⊗ columns / mean(rows)."""
        matrices = [leaf for leaf in leaves if leaf.ndim >= 2]
        rows = [self.state[leaf][ROWS].sum(-1, keepdim=True) for leaf in matrices]
        totals = sum_over_parts([(row, self._layouts.cuts(m, -2)) for m, row in zip(matrices, rows, strict=True)])
        for leaf, total in zip(matrices, totals, strict=True):
            state, mean = self.state[leaf], total / self._layouts.shape(leaf)[-2]
            _gradient(leaf).div_((state[ROWS] / mean).sqrt().unsqueeze(-1)).div_(state[COLUMNS].sqrt().unsqueeze(-2))
        for leaf in leaves:
            if leaf.ndim < 2:
                _gradient(leaf).div_(self.state[leaf][SQUARES].sqrt())

    def _apply(self, group: dict[str, Any], leaf: Tensor, weight: Tensor, update: Tensor) -> None:
        """`weight`, `update`: RMS of the whole parameter and of its û."""
        scale = weight.clamp(min=group["eps"][1]) if group["scale_parameter"] else torch.ones_like(weight)
        rate = group["lr"] * scale
        step = _gradient(leaf).mul_(rate / (update / group["clip_threshold"]).clamp(min=1.0))
        if group["beta1"] is not None:
            step = self.state[leaf]["exp_avg"].mul_(group["beta1"]).add_(step, alpha=1 - group["beta1"])
        if group["weight_decay"]:
            leaf.mul_(1 - rate * group["weight_decay"])
        leaf.sub_(step)

    def _rms(self, leaf: Tensor, square: Tensor) -> Tensor:
        return (square / self._layouts.shape(leaf).numel()).sqrt()


def _gradient(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad
