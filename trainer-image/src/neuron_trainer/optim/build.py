"""The configured optimizer over the local parameters, in two groups: decayed and not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.optim import Optimizer

from neuron_api.config import ModelConfig, OptimConfig, TrainingConfig
from neuron_api.derive import precision
from neuron_api.findings.finding import error
from neuron_trainer.errors import InputError
from neuron_trainer.parallel import LocalParameter

from . import state
from .adafactor import Adafactor
from .adamw_fp32 import AdamWFP32OptState
from .novograd import NovoGrad
from .rounded import Rounded
from .sgd import SGD
from .shard_layouts import ShardLayouts


@dataclass(frozen=True, slots=True)
class _Kind:
    make: Callable[..., Optimizer]
    arguments: str
    """Keys of `model.optim` that it takes, by the same names; lr and weight_decay all take."""
    needs_wholes: bool = False


_KINDS: Final[Mapping[str, _Kind]] = {
    "adamw": _Kind(torch.optim.AdamW, "betas eps amsgrad foreach capturable"),
    "adamw_fp32OptState": _Kind(AdamWFP32OptState, "betas eps correct_bias"),
    "adam": _Kind(torch.optim.Adam, "betas eps amsgrad foreach capturable"),
    "sgd": _Kind(SGD, "momentum dampening nesterov foreach"),
    "adadelta": _Kind(torch.optim.Adadelta, "rho eps foreach capturable"),
    "adamax": _Kind(torch.optim.Adamax, "betas eps foreach capturable"),
    "adagrad": _Kind(torch.optim.Adagrad, "lr_decay initial_accumulator_value eps foreach"),
    "rmsprop": _Kind(torch.optim.RMSprop, "alpha eps momentum centered foreach capturable"),
    "rprop": _Kind(torch.optim.Rprop, "etas step_sizes foreach capturable"),
    "novograd": _Kind(NovoGrad, "betas eps grad_averaging amsgrad luc luc_trust", needs_wholes=True),
    "adafactor": _Kind(
        Adafactor, "eps clip_threshold decay_rate beta1 scale_parameter", needs_wholes=True
    ),
}  # fmt: skip
SUPPORTED_OPTIMIZERS: Final = tuple(_KINDS)
_CAPTURABLE: Final = ("cuda", "xpu", "hpu", "xla")
"""Device types on which torch lets `capturable` be True; elsewhere, and without effect on numbers, it is dropped."""


def of_run(config: TrainingConfig, parameters: Sequence[LocalParameter]) -> Optimizer:
    """The run's optimizer, with what it keeps in the dtypes of B-3."""
    optimizer, policy = build(config.model, parameters), precision.policy(config)
    if policy.stored == "bf16":
        Rounded(optimizer, parameters, config.seed if policy.is_stochastic else None)
    return optimizer


def build(model: ModelConfig, parameters: Sequence[LocalParameter]) -> Optimizer:
    """Make it with its state, so that a checkpoint can be loaded into it before the first step."""
    wanted = model.optim
    decayed = [p.leaf for p in parameters if is_decayed(p, model)]
    kept = [p.leaf for p in parameters if not is_decayed(p, model)]
    groups = [
        {"params": leaves, "weight_decay": decay}
        for leaves, decay in ((decayed, wanted.weight_decay), (kept, 0.0))
        if leaves
    ]
    kind = _KINDS[wanted.name]
    arguments = _arguments(wanted, kind, parameters[0].leaf.device)
    if kind.needs_wholes:
        arguments["wholes"] = ShardLayouts(parameters)
    optimizer = kind.make(groups, lr=wanted.lr, **arguments)
    state.prepare(optimizer)
    return optimizer


def is_decayed(parameter: LocalParameter, model: ModelConfig) -> bool:
    """Norm weights and biases are exempt unless `do_layer_norm_weight_decay` (B-8)."""
    return model.do_layer_norm_weight_decay or parameter.whole.ndim > 1


def _arguments(wanted: OptimConfig, kind: _Kind, device: torch.device) -> dict[str, Any]:
    """What is configured; foreach wherever there is one; null leaves the default of the optimizer."""
    if wanted.eps is not None and isinstance(wanted.eps, tuple) != (wanted.name == "adafactor"):
        raise InputError([error("model.optim.eps", f"{wanted.eps} does not fit {wanted.name}.",
                                "Give adafactor a pair, any other optimizer one number.")])  # fmt: skip
    special = {"foreach": True, "capturable": wanted.capturable and device.type in _CAPTURABLE}
    values = {key: special.get(key, getattr(wanted, key, None)) for key in kind.arguments.split()}
    return {key: value for key, value in values.items() if value is not None}
