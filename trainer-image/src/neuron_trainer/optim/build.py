"""The configured optimizer over the local parameters, in two groups: decayed and not."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch.optim import Optimizer

from neuron_api.config import ModelConfig, OptimConfig, TrainingConfig
from neuron_api.derive import precision
from neuron_api.findings.finding import error
from neuron_trainer import accelerators
from neuron_trainer.errors import InputError
from neuron_trainer.parallel import LocalParameter

from . import state
from .adafactor import Adafactor
from .adamw_fp32 import AdamWFP32OptState
from .novograd import NovoGrad
from .rounded import Rounded
from .rprop import MasklessRprop
from .sgd import SGD
from .shard_layouts import ShardLayouts

_OWN: Final[Mapping[str, type[Optimizer]]] = {
    "sgd": SGD,
    "adamw_fp32OptState": AdamWFP32OptState,
    "novograd": NovoGrad,
    "adafactor": Adafactor,
}
"""Those that torch.optim does not have, or not as they are needed here."""
_OF_TORCH: Final = {name.lower(): kind for name, kind in vars(torch.optim).items() if isinstance(kind, type)}


def for_run(config: TrainingConfig, parameters: Sequence[LocalParameter]) -> Optimizer:
    """The run's optimizer, with what it keeps in the dtypes of B-3."""
    optimizer, policy = build(config.model, parameters), precision.policy(config)
    if policy.stored == "bf16":
        Rounded(optimizer, parameters, config.seed if policy.is_stochastic else None)
    return optimizer


def build(model: ModelConfig, parameters: Sequence[LocalParameter]) -> Optimizer:
    """Make it with its state, so that a checkpoint can be loaded into it before the first step."""
    optim = model.optim
    decayed = [p.leaf for p in parameters if is_decayed(p, model)]
    exempt = [p.leaf for p in parameters if not is_decayed(p, model)]
    groups = [
        {"params": leaves, "weight_decay": decay}
        for leaves, decay in ((decayed, optim.weight_decay), (exempt, 0.0))
        if leaves
    ]
    kind = kind_of(optim.name, parameters[0].leaf.device)
    optimizer: Optimizer = kind(groups, lr=optim.lr, **_arguments(optim, parameters))
    state.prepare(optimizer, optim.states)
    return optimizer


def implementation(name: str) -> Any:
    """Return the class of an optimizer: ours, or torch.optim's of the same name."""
    return _OWN.get(name) or _OF_TORCH[name]


def kind_of(name: str, device: torch.device) -> Any:
    """Return the class of an optimizer on a device."""
    accelerator = accelerators.get(device.type)
    has_masks = name == "rprop" and not (accelerator.is_host or accelerator.has_capturable)
    return MasklessRprop if has_masks else implementation(name)


def is_decayed(parameter: LocalParameter, model: ModelConfig) -> bool:
    """Return whether weight decay applies: norm weights and biases are exempt unless `do_layer_norm_weight_decay`."""
    return model.do_layer_norm_weight_decay or len(parameter.shape) > 1


def _has_capturable(device: torch.device) -> bool:
    accelerator = accelerators.get(device.type)
    return accelerator.has_capturable and not accelerator.is_host


def _arguments(optim: OptimConfig, parameters: Sequence[LocalParameter]) -> dict[str, Any]:
    """Return what is configured; foreach wherever there is one; null leaves the default of the optimizer.

    On the CPU `capturable`, which changes no number, is dropped: torch refuses it there, and nowhere else that we run.
    On a device rprop always has it: without it torch assigns by masks, whose number of elements the host must know.
    """
    if optim.eps is not None and isinstance(optim.eps, tuple) != optim.spec.has_eps_pair:
        raise InputError(
            [
                error(
                    "model.optim.eps",
                    f"{optim.eps} does not fit {optim.name}.",
                    "Give adafactor a pair, any other optimizer one number.",
                )
            ]
        )
    configured = {key: value for key in optim.spec.arguments if (value := getattr(optim, key)) is not None}
    device = parameters[0].leaf.device
    ours = {
        "foreach": True,
        "capturable": (optim.capturable or optim.name == "rprop") and _has_capturable(device),
        "layouts": ShardLayouts(parameters),
    }
    accepted = inspect.signature(implementation(optim.name)).parameters
    return configured | {name: value for name, value in ours.items() if name in accepted}
