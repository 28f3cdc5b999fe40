"""Names of adapters' parameters, after the module that they adapt, as PEFT names them."""

from typing import Final

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
