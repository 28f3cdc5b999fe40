"""Tensors of the size of a parameter that each optimizer keeps for it."""

from typing import Final

from neuron_api.config import OptimConfig

_STATES: Final = {
    "adamw": 2, "adamw_fp32OptState": 2, "adam": 2, "adamax": 2, "adadelta": 2, "rprop": 2,
    "adagrad": 1, "rmsprop": 1, "novograd": 1, "sgd": 0, "adafactor": 0,
}  # fmt: skip


def tensors_per_parameter(optim: OptimConfig) -> int:
    """Return their number: two moments for the Adam family, one more with some options. Scalars and rows do not
    count."""
    match optim.name:
        case "adam" | "adamw":
            extra = int(optim.amsgrad)
        case "rmsprop":
            extra = bool(optim.centered) + bool(optim.momentum)
        case "sgd":
            extra = bool(optim.momentum)
        case "adafactor":
            extra = optim.beta1 is not None
        case _:
            extra = 0
    return _STATES[optim.name] + extra
