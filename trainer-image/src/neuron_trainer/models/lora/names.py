"""Names of adapters' parameters, after the module that they adapt, as PEFT names them."""

from collections.abc import Container
from typing import Final

from .targets import FUSED

A: Final = "lora_A"
B: Final = "lora_B"
EMBEDDING_A: Final = "lora_embedding_A"
EMBEDDING_B: Final = "lora_embedding_B"
DROPOUT: Final = "lora_dropout"

_WEIGHTS: Final = (f".{A}.weight", f".{B}.weight", f".{EMBEDDING_A}", f".{EMBEDDING_B}")


def is_adapter(parameter: str) -> bool:
    """Return whether a parameter is an adapter's; every other one is the base's."""
    return f".{parameter}".endswith(_WEIGHTS)


def is_trained(parameter: str, bias: str, adapted: frozenset[str]) -> bool:
    """Return whether a parameter is trained: an adapter's, or by `lora_bias` a bias of any or of an `adapted` module.

    `bias`: `none`, `all` or `lora_only`, as in PEFT.
    """
    module, _, last = parameter.rpartition(".")
    return is_adapter(parameter) or (last == "bias" and (bias == "all" or (bias == "lora_only" and module in adapted)))


def shared_a(module: str, parameters: Container[str]) -> str:
    """Return the name of the parameter A of an adapted linear: its own, or that of the fused target it is a part of."""
    parent, dot, last = module.rpartition(".")
    parts = next((parts for parts in FUSED.values() if last in parts), ())
    for part in (last, *parts):
        if (name := f"{parent}{dot}{part}.{A}.weight") in parameters:
            return name
    raise KeyError(f"{module} has no {A}")
