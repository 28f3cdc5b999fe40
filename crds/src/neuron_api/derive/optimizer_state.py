"""Tensors of the size of a parameter that each optimizer keeps for it (B-8)."""

from typing import Final

from neuron_api.config import OptimConfig

_STATES: Final = {
    "adamw": 2, "adamw_fp32OptState": 2, "adam": 2, "adamax": 2, "adadelta": 2, "rprop": 2,
    "adagrad": 1, "rmsprop": 1, "novograd": 1, "sgd": 0, "adafactor": 0,
}  # fmt: skip


def tensors_per_parameter(optim: OptimConfig) -> int:
    """Two moments for the Adam family; options that keep one more count one more. Scalars and rows are left out."""
    match optim.name:
        case "adam" | "adamw":
            more = int(optim.amsgrad)
        case "rmsprop":
            more = bool(optim.centered) + bool(optim.momentum)
        case "sgd":
            more = bool(optim.momentum)
        case "adafactor":
            more = optim.beta1 is not None
        case _:
            more = 0
    return _STATES[optim.name] + more
