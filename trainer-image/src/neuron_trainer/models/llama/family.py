"""Llama for the rest of the trainer: initial weights, names in `transformers`, roles of modules in a split."""

from typing import Final

import torch
from torch import Tensor

from neuron_trainer.models import roles as blocks
from neuron_trainer.models import spec
from neuron_trainer.models.roles import Role
from neuron_trainer.models.spec import FamilySpec, HFTensor

from .config import LlamaConfig, from_values
from .model import LlamaForCausalLM

RECOMPUTABLE: Final = (
    "CoreAttention",
    "LlamaAttention",
    "LlamaMLP",
    "ActivationMultiplyMLP",
    "LlamaRMSNorm",
    "LlamaDecoderLayer",
)
"""Values of `model.activations_checkpoint_recompute`."""


def roles(config: LlamaConfig) -> dict[str, Role]:
    """Return the role of each module by name; a module that is not named is replicated."""
    return blocks.decoder(layers(config), lambda _: blocks.mlp)


def layers(config: LlamaConfig) -> list[str]:
    """Names of the repeated layers, in order: units of data-parallel sharding and of `full` recompute."""
    return [f"model.layers.{index}" for index in range(config.num_hidden_layers)]


def init_parameter(name: str, shape: torch.Size, config: LlamaConfig, seed: int) -> Tensor:
    """Return the full parameter `name`, fp32 on the CPU, as `transformers` does: N(0, initializer_range)."""
    return spec.init_parameter(name, shape, config.initializer_range, seed)


def hf_tensor(name: str, _: LlamaConfig) -> HFTensor:
    """Return the same name; a tied head has no tensor of its own on either side."""
    return HFTensor((name,))


FAMILY: Final = FamilySpec(
    "llama",
    LlamaForCausalLM,
    init_parameter,
    roles,
    layers,
    RECOMPUTABLE,
    from_json=from_values,
    hf_tensor=hf_tensor,
    hf_class="LlamaForCausalLM",
    hf_keys=("attention_bias", "mlp_bias"),
)
