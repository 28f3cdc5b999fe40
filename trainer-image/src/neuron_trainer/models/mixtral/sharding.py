"""What each module of a Mixtral is to a parallel backend: roles by module name, in no framework's terms."""

from typing import Final

from neuron_trainer.models.blocks import roles as blocks
from neuron_trainer.models.llama import sharding as llama
from neuron_trainer.models.roles import Role

from .config import MixtralConfig

RECOMPUTABLE: Final = ("CoreAttention", "MixtralAttention", "MixtralRMSNorm", "MoE", "MixtralDecoderLayer")
"""Values of `model.activations_checkpoint_recompute`."""

layers = llama.layers


def roles(config: MixtralConfig) -> dict[str, Role]:
    """Module name to role; a module that is not named is replicated."""
    found = {"model.embed_tokens": Role.VOCABULARY_IN, "model.norm": Role.NORM, "lm_head": Role.VOCABULARY_OUT}
    for index, layer in enumerate(layers(config)):
        found |= {f"{layer}.input_layernorm": Role.NORM, f"{layer}.post_attention_layernorm": Role.NORM}
        found |= blocks.attention(f"{layer}.self_attn")
        found |= (blocks.moe if config.has_experts(index) else blocks.mlp)(f"{layer}.mlp")
    return found
