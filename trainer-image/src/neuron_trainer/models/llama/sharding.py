"""What each module of a Llama is to a parallel backend: roles by module name, in no framework's terms."""

from typing import Final

from neuron_trainer.models.blocks import roles as blocks
from neuron_trainer.models.roles import Role

from .config import LlamaConfig

RECOMPUTABLE: Final = (
    "CoreAttention", "LlamaAttention", "LlamaMLP", "ActivationMultiplyMLP", "LlamaRMSNorm", "LlamaDecoderLayer",
)  # fmt: skip
"""Values of `model.activations_checkpoint_recompute`."""


def roles(config: LlamaConfig) -> dict[str, Role]:
    """Module name to role; a module that is not named is replicated."""
    found = {"model.embed_tokens": Role.VOCABULARY_IN, "model.norm": Role.NORM, "lm_head": Role.VOCABULARY_OUT}
    for layer in layers(config):
        found |= {f"{layer}.input_layernorm": Role.NORM, f"{layer}.post_attention_layernorm": Role.NORM}
        found |= blocks.attention(f"{layer}.self_attn")
        found |= blocks.mlp(f"{layer}.mlp")
    return found


def layers(config: LlamaConfig) -> list[str]:
    """Names of the repeated layers, in order: units of data-parallel sharding and of `full` recompute."""
    return [f"model.layers.{index}" for index in range(config.num_hidden_layers)]
