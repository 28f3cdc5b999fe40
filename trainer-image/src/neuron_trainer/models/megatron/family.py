"""Megatron's models for the rest of the trainer: initial weights and roles of modules in a split."""

from math import sqrt
from typing import Final

import torch
from torch import Tensor

from neuron_trainer.models import roles as blocks
from neuron_trainer.models import spec
from neuron_trainer.models.blocks.mlp import GATED
from neuron_trainer.models.roles import Role
from neuron_trainer.models.spec import FamilySpec

from .config import MegatronConfig
from .model import MegatronForCausalLM

_ENDS: Final = ("o_proj.weight", "down_proj.weight", "experts.down_proj")
RECOMPUTABLE: Final = (
    "CoreAttention",
    "ParallelAttention",
    "ParallelMLP",
    "NeuronSwitchMLP",
    "ParallelTransformerLayer",
)
"""Values of `model.activations_checkpoint_recompute`."""


def roles(config: MegatronConfig) -> dict[str, Role]:
    """Module name to role; a module that is not named is replicated."""
    result = {
        "model.embed_tokens": Role.VOCABULARY_IN,
        "model.embedding_dropout": Role.DROPOUT,
        "model.norm": Role.NORM,
        "lm_head": Role.VOCABULARY_OUT,
    }
    if config.rope is None:
        result["model.embed_positions"] = Role.POSITIONS
    for index, layer in enumerate(layers(config)):
        result |= _layer(layer)
        if config.has_experts(index):
            result |= blocks.moe(f"{layer}.mlp")
        else:
            result |= blocks.mlp(f"{layer}.mlp", is_gated=config.activation in GATED)
    return result


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


def init_parameter(name: str, shape: torch.Size, config: MegatronConfig, seed: int) -> Tensor:
    """Return the full parameter `name`, fp32 on the CPU: N(0, init_method_std), for the projections that end a block
    divided by sqrt(2 layers), so that the variance of the residual stream does not grow with the depth (GPT-2, section
    2.3). Embeddings: like all others."""
    is_scaled = config.use_scaled_init_method and name.endswith(_ENDS)
    deviation = config.init_method_std / (sqrt(2 * config.num_layers) if is_scaled else 1)
    return spec.init_parameter(name, shape, deviation, seed)


FAMILY: Final = FamilySpec("megatron", MegatronForCausalLM, init_parameter, roles, layers, RECOMPUTABLE)
