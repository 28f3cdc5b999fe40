"""Activations of layers whose weights are frozen (LoRA): what only the gradients of the weights need is not saved."""

from collections.abc import Mapping
from typing import Final

from neuron_api.config import PeftConfig

from . import adapters
from .architecture import Architecture

_FP32: Final = 4
_ORDER: Final = (
    ("self_attn.qkv_proj", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.o_proj",),
    ("mlp.gate_up_proj", "mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)
"""Targets by the input that they have in common, in the order of the forward pass."""
_UNSAVED: Final = (("norms",), ("norms", "core"), ("norms", "norms", "core", "mixed"),
                   ("norms", "norms", "core", "mixed", "mlp"))  # fmt: skip
"""Terms that the first layer does not save, by its first adapter: nothing before that has a gradient. A norm is half of
the term."""


def terms(full: Mapping[str, int], model: Architecture, peft: PeftConfig, tokens: int, width: int) -> dict[str, int]:
    """Return the bytes of saved tensors by origin, of those of a trained layer (`activations`).

    norms:  statistics alone: 4 T H for each
    inputs: of q, k, v and of gate, up where one of them has an adapter; twice with dropout (its mask, its result)
    product: where down has an adapter, with dropout twice
    adapters: the output of each A, w T r; with dropout on o also twice its input
    """
    chosen = _paths(model, peft)
    copies = 2 if peft.lora_dropout else 1
    inner = width * tokens * peft.lora_rank
    blocks = sum(any(path in group for path in chosen) for group in (_ORDER[0], _ORDER[2]))
    mixed = full["mixed"] * copies if peft.lora_dropout and "self_attn.o_proj" in chosen else 0
    return {
        **full,
        "norms": full["norms"] * _FP32 // (_FP32 + width),
        "inputs": full["inputs"] // 2 * copies * blocks,
        "product": full["product"] * copies if "mlp.down_proj" in chosen else 0,
        "attention adapters": mixed + inner * sum(path.startswith("self_attn.") for path in chosen),
        "mlp adapters": inner * sum(path.startswith("mlp.") for path in chosen),
    }


def unsaved_in_first_layer(saved: Mapping[str, int], model: Architecture, peft: PeftConfig) -> int:
    """Return the bytes of `saved` that the first layer of the model does not save; 0 where the embedding is trained or
    every bias."""
    chosen = _paths(model, peft)
    place = next((place for place, group in enumerate(_ORDER) if any(path in group for path in chosen)), None)
    if place is None or adapters.EMBEDDING in chosen or peft.lora_bias == "all":
        return 0
    return sum(saved[name] // 2 if name == "norms" else saved[name] for name in _UNSAVED[place])


def has_head(model: Architecture, peft: PeftConfig) -> bool:
    """Return whether the head has an adapter."""
    return adapters.HEAD in _paths(model, peft)


def _paths(model: Architecture, peft: PeftConfig) -> list[str]:
    return [target.path for name in peft.target_modules if (target := adapters.find(model, name)) is not None]
