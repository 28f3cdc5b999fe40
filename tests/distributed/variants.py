"""What else a Llama is trained with where a device is compared with the CPU: every optimizer and type of precision."""

from typing import Any, Final

OPTIMIZERS: Final[dict[str, dict[str, Any]]] = {
    "adamw": {"name": "adamw", "amsgrad": True, "eps": 1e-5},
    "adamw_fp32OptState": {"name": "adamw_fp32OptState", "weight_decay": 0.1},
    "adam": {"name": "adam", "eps": 1e-5, "weight_decay": 0.1},
    "sgd": {"name": "sgd", "lr": 0.5, "momentum": 0.9, "dampening": 0.2},
    "adadelta": {"name": "adadelta", "lr": 3.0, "eps": 1e-4},
    "adamax": {"name": "adamax", "eps": 1e-5},
    "adagrad": {"name": "adagrad", "lr": 0.03, "initial_accumulator_value": 0.01},
    "rmsprop": {"name": "rmsprop", "lr": 1e-3, "eps": 1e-3, "momentum": 0.5, "centered": True},
    "rprop": {"name": "rprop", "lr": 1e-3},
    "novograd": {"name": "novograd", "lr": 0.05, "amsgrad": True},
    "novograd, luc": {"name": "novograd", "lr": 0.05, "luc": True, "luc_trust": 0.01, "weight_decay": 0.1},
    "adafactor": {"name": "adafactor", "lr": 0.03},
    "adafactor, relative": {"name": "adafactor", "lr": None, "relative_step": True, "beta1": 0.9, "weight_decay": 0.1},
}
"""eps is well above the rounding of gradients: below it Adam's first steps are their signs."""
PRECISIONS: Final[dict[str, dict[str, Any]]] = {
    "mixed_precision": {"type": "mixed_precision"},
    "mixed_precision, layers fp32": {"type": "mixed_precision", "parallel_layers_reduce_dtype": "fp32"},
    "mixed_precisionSR": {"type": "mixed_precisionSR"},
    "autocast": {"type": "autocast"},
    "bf16SR": {"type": "bf16SR"},
    "manual": {"type": "manual"},
    "manual, bf16": {"type": "manual", "xla_use_bf16": "1"},
    "manual, masters": {"type": "manual", "xla_downcast_bf16": "1", "master_weights": True},
}
VARIANTS: Final[dict[str, dict[str, Any]]] = {
    **{f"llama, with {name}": {"optim": keys} for name, keys in OPTIMIZERS.items()},
    **{f"llama, in {name}": {"precision": keys} for name, keys in PRECISIONS.items()},
}
"""By the name of a family: its changes of `model.optim` and of `precision`."""
SPLITS_OF_VARIANTS: Final = ("one process", "2 x 2, zero1, sequence")
