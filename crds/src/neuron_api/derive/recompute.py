"""Which part of a layer `activations_checkpoint_*` computes again in the backward pass (B-6)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from neuron_api.config import ModelConfig


class Part(StrEnum):
    """Parts of a layer, whatever the model family calls them."""

    LAYER = "layer"
    ATTENTION = "attention"
    CORE = "core"
    """Scores, softmax and their product with the values."""
    MLP = "mlp"
    PRODUCT = "product"
    """activation(gate) x up."""
    NORM = "norm"


CLASSES: Final[Mapping[str, Part]] = {
    "LlamaDecoderLayer": Part.LAYER, "LlamaAttention": Part.ATTENTION, "CoreAttention": Part.CORE,
    "LlamaMLP": Part.MLP, "ActivationMultiplyMLP": Part.PRODUCT, "LlamaRMSNorm": Part.NORM,
    "MixtralDecoderLayer": Part.LAYER, "MixtralAttention": Part.ATTENTION, "MixtralRMSNorm": Part.NORM,
    "MoE": Part.MLP,
    "ParallelTransformerLayer": Part.LAYER, "ParallelAttention": Part.ATTENTION, "ParallelMLP": Part.MLP,
    "NeuronSwitchMLP": Part.MLP,
}  # fmt: skip
"""Values of `activations_checkpoint_recompute` (B-6, "Class names")."""


def parts(model: ModelConfig) -> frozenset[Part]:
    """From the `model` section: the whole layer, the named classes (CoreAttention when none is), or nothing."""
    match model.activations_checkpoint_granularity:
        case "full":
            return frozenset({Part.LAYER})
        case "selective":
            names = model.activations_checkpoint_recompute or ("CoreAttention",)
            return frozenset(CLASSES[name] for name in names if name in CLASSES)
        case _:
            return frozenset()
