"""What each module of a Megatron model is to a parallel backend: roles by module name, in no framework's terms."""

from typing import Final

from neuron_trainer.models.blocks import roles as blocks
from neuron_trainer.models.blocks.mlp import GATED
from neuron_trainer.models.roles import Role

from .config import MegatronConfig

RECOMPUTABLE: Final = (
    "CoreAttention", "ParallelAttention", "ParallelMLP", "NeuronSwitchMLP", "ParallelTransformerLayer",
)  # fmt: skip
"""Values of `model.activations_checkpoint_recompute`."""


def roles(config: MegatronConfig) -> dict[str, Role]:
    """Module name to role; a module that is not named is replicated."""
    found = {
        "model.embed_tokens": Role.VOCABULARY_IN,
        "model.embedding_dropout": Role.DROPOUT,
        "model.norm": Role.NORM,
        "lm_head": Role.VOCABULARY_OUT,
    }
    if config.rope is None:
        found["model.embed_positions"] = Role.POSITIONS
    for index, layer in enumerate(layers(config)):
        found |= _layer(layer)
        if config.has_experts(index):
            found |= blocks.moe(f"{layer}.mlp")
        else:
            found |= blocks.mlp(f"{layer}.mlp", is_gated=config.activation in GATED)
    return found


def layers(config: MegatronConfig) -> list[str]:
    """Names of the repeated layers, in order: units of data-parallel sharding and of `full` recompute."""
    return [f"model.layers.{index}" for index in range(config.num_layers)]


def _layer(name: str) -> dict[str, Role]:
    return {
        f"{name}.input_layernorm": Role.NORM,
        **blocks.attention(f"{name}.self_attn"),
        f"{name}.attention_output_dropout": Role.DROPOUT,
        f"{name}.post_attention_layernorm": Role.NORM,
        f"{name}.mlp_output_dropout": Role.DROPOUT,
    }
