"""The state of an optimizer by parameter: made before the first step, and how it is cut."""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor
from torch.optim import Adadelta, Adam, Adamax, Optimizer, RMSprop, Rprop

from . import adafactor

STEP: Final = "step"
"""Number of updates: fp32 scalar, the same for every parameter."""

_ZEROS: Final[Mapping[type[Optimizer], str]] = {
    Adam: "exp_avg exp_avg_sq", Adamax: "exp_avg exp_inf", Adadelta: "square_avg acc_delta", RMSprop: "square_avg",
    Rprop: "prev step_size",
}  # fmt: skip
_OPTIONAL: Final = {"amsgrad": "max_exp_avg_sq", "momentum": "momentum_buffer", "centered": "grad_avg"}
"""Argument and the state that it adds, in Adam and RMSprop."""


def prepare(optimizer: Optimizer) -> None:
    """Make what torch would make in the first step: a checkpoint is loaded into it, or training begins with it.

    torch's Adagrad, our SGD and the optimizers of our own make theirs when they are built.
    """
    for group in optimizer.param_groups:
        for leaf in group["params"]:
            if not optimizer.state[leaf]:
                optimizer.state[leaf].update(_fresh(optimizer, group, leaf))


def _fresh(optimizer: Optimizer, group: dict[str, Any], leaf: Tensor) -> dict[str, Tensor]:
    names = next(names for kind, names in _ZEROS.items() if isinstance(optimizer, kind)).split()
    names += [name for argument, name in _OPTIONAL.items() if group.get(argument)]
    tensors = {name: torch.zeros_like(leaf) for name in names}
    if isinstance(optimizer, Rprop):
        tensors["step_size"].fill_(group["lr"])
    return {STEP: torch.zeros((), device=leaf.device if group.get("capturable") else "cpu"), **tensors}


def dims(name: str, state: Tensor, ndim: int) -> tuple[int, ...]:
    """Which dimensions of a parameter of `ndim` the state has: all, those of rows or columns, or none (a statistic)."""
    every = tuple(range(ndim))
    if name == adafactor.ROWS:
        return every[:-1]
    if name == adafactor.COLUMNS:
        return every[:-2] + every[-1:]
    return every if state.ndim else ()
