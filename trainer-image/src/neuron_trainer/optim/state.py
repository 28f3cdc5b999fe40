"""The state of an optimizer by parameter: made before the first step, and how it is cut."""

from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor
from torch.optim import Optimizer, Rprop

from . import adafactor

STEP: Final = "step"
"""Number of updates: fp32 scalar, the same for every parameter."""


def prepare(optimizer: Optimizer, names: Iterable[str]) -> None:
    """Make what torch would make in the first step: a checkpoint is loaded into it, or training begins with it.

    torch's Adagrad, our SGD and the optimizers of our own make theirs when they are built. `names`: of the tensors.
    """
    for group in optimizer.param_groups:
        for leaf in group["params"]:
            if not optimizer.state[leaf]:
                optimizer.state[leaf].update(_init_state(optimizer, group, leaf, names))


def _init_state(optimizer: Optimizer, group: dict[str, Any], leaf: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
    tensors = {name: torch.zeros_like(leaf) for name in names}
    if isinstance(optimizer, Rprop):
        tensors["step_size"].fill_(group["lr"])
    return {STEP: torch.zeros((), device=leaf.device if group.get("capturable") else "cpu"), **tensors}


def dims(name: str, state: Tensor, ndim: int) -> tuple[int, ...]:
    """Return which dimensions of a parameter of `ndim` the state has: all, those of rows or columns, or none (a
    statistic)."""
    every = tuple(range(ndim))
    if name == adafactor.ROWS:
        return every[:-1]
    if name == adafactor.COLUMNS:
        return every[:-2] + every[-1:]
    return every if state.ndim else ()
