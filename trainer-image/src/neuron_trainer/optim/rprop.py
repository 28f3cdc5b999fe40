"""`rprop` for a device that PyTorch's `capturable` refuses, as PyTorch/XLA's.

PyTorch's own assigns by masks there, whose number of elements the host must know: each of them is a read in the middle
of a step, and a graph that is compiled again. The update, and the names of its state, are PyTorch's.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class MasklessRprop(torch.optim.Rprop):
    """s = eta+ where g g' > 0, eta- where < 0, 1 else; size = clamp(s size); g = 0 where g g' < 0; p -= size sgn(g)."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all groups; returns what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for leaf in group["params"]:
                if leaf.grad is not None:
                    self._update(group, leaf, -leaf.grad if group["maximize"] else leaf.grad)
        return loss

    def _update(self, group: dict[str, Any], leaf: nn.Parameter, gradient: Tensor) -> None:
        state, (smaller, larger), (least, most) = self.state[leaf], group["etas"], group["step_sizes"]
        state["step"] += 1
        product = gradient * state["prev"]
        factor = torch.where(product > 0, larger, torch.where(product < 0, smaller, 1.0)).to(product.dtype)
        state["step_size"].mul_(factor).clamp_(least, most)
        state["prev"].copy_(torch.where(product < 0, 0.0, gradient))
        leaf.addcmul_(state["prev"].sign(), state["step_size"], value=-1)
