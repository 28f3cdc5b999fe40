"""Mixtral for the rest of the trainer: initial weights, names in `transformers`, roles of modules in a split."""

from typing import Final

from neuron_trainer.models import roles as blocks
from neuron_trainer.models.llama import family as llama
from neuron_trainer.models.roles import Role
from neuron_trainer.models.spec import FamilySpec, HFTensor

from .config import MixtralConfig, from_values
from .model import MixtralForCausalLM

RECOMPUTABLE: Final = ("CoreAttention", "MixtralAttention", "MixtralRMSNorm", "MoE", "MixtralDecoderLayer")
"""Values of `model.activations_checkpoint_recompute`."""

layers = llama.layers
_PROJECTIONS: Final = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}


def roles(config: MixtralConfig) -> dict[str, Role]:
    """Return the role of each module by name; a module that is not named is replicated."""
    return blocks.decoder(layers(config), lambda index: blocks.moe if config.has_experts(index) else blocks.mlp)


def hf_tensor(name: str, config: MixtralConfig) -> HFTensor:
    """Return what is in `transformers`, which has a tensor for each projection of each expert; ours has them stacked.

    `block_sparse_moe.experts.3.w1` is gate_proj[3], `w3` up_proj, `w2` down_proj; of the others only the router's name
    differs.
    """
    layer, is_experts, projection = name.partition(".mlp.experts.")
    if not is_experts:
        return HFTensor((name.replace(".mlp.gate.", ".block_sparse_moe.gate."),))
    prefix, last = f"{layer}.block_sparse_moe.experts", _PROJECTIONS[projection]
    return HFTensor(
        tuple(f"{prefix}.{expert}.{last}.weight" for expert in range(config.moe.num_experts)), is_stack=True
    )


FAMILY: Final = FamilySpec(
    "mixtral",
    MixtralForCausalLM,
    llama.init_parameter,
    roles,
    layers,
    RECOMPUTABLE,
    from_json=from_values,
    has_experts=True,
    hf_tensor=hf_tensor,
    hf_class="MixtralForCausalLM",
    hf_keys=("sliding_window",),
)
