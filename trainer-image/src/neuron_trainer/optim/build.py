"""The configured optimizer over the local parameters, in two groups: decayed and not."""

from collections.abc import Sequence
from typing import Final

import torch
from torch.optim import Optimizer

from neuron_api.config import ModelConfig, OptimConfig
from neuron_api.findings import error
from neuron_trainer.errors import InputError
from neuron_trainer.parallel import LocalParameter

from .adamw_fp32 import AdamWFP32OptState, fresh

SUPPORTED_OPTIMIZERS: Final = ("adamw", "adamw_fp32OptState")


def build(model: ModelConfig, parameters: Sequence[LocalParameter]) -> Optimizer:
    """Make it with its (zero) state, so that a checkpoint can be loaded into it before the first step."""
    wanted = model.optim
    decayed = [p.leaf for p in parameters if is_decayed(p, model)]
    kept = [p.leaf for p in parameters if not is_decayed(p, model)]
    groups = [
        {"params": leaves, "weight_decay": decay}
        for leaves, decay in ((decayed, wanted.weight_decay), (kept, 0.0))
        if leaves
    ]
    optimizer: Optimizer
    if wanted.name == "adamw":
        optimizer = torch.optim.AdamW(groups, lr=wanted.lr, betas=wanted.betas, eps=_eps(wanted, 1e-8), foreach=True)
    else:
        optimizer = AdamWFP32OptState(groups, lr=wanted.lr, betas=wanted.betas, eps=_eps(wanted, 1e-6))
    for group in optimizer.param_groups:
        for leaf in group["params"]:
            fresh(optimizer.state[leaf], leaf)
    return optimizer


def _eps(wanted: OptimConfig, default: float) -> float:
    if isinstance(wanted.eps, tuple):
        raise InputError([error("model.optim.eps", f"a pair is adafactor's, and the optimizer is {wanted.name}.",
                                "Give one number.")])  # fmt: skip
    return wanted.eps or default


def is_decayed(parameter: LocalParameter, model: ModelConfig) -> bool:
    """Norm weights and biases are exempt unless `do_layer_norm_weight_decay` (config-keys.md, section 6)."""
    return model.do_layer_norm_weight_decay or parameter.whole.ndim > 1
