"""Which part of a layer `activations_checkpoint_*` computes again in the backward pass (B-6)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from neuron_api.config import ModelConfig


class RecomputeUnit(StrEnum):
    """Parts of a layer, whatever the model family calls them."""

    LAYER = "layer"
    ATTENTION = "attention"
    CORE = "core"
    """Scores, softmax and their product with the values."""
    MLP = "mlp"
    PRODUCT = "product"
    """activation(gate) x up."""
    NORM = "norm"


CLASSES: Final[Mapping[str, RecomputeUnit]] = {
    "LlamaDecoderLayer": RecomputeUnit.LAYER,
    "LlamaAttention": RecomputeUnit.ATTENTION,
    "CoreAttention": RecomputeUnit.CORE,
    "LlamaMLP": RecomputeUnit.MLP,
    "ActivationMultiplyMLP": RecomputeUnit.PRODUCT,
    "LlamaRMSNorm": RecomputeUnit.NORM,
    "MixtralDecoderLayer": RecomputeUnit.LAYER,
    "MixtralAttention": RecomputeUnit.ATTENTION,
    "MixtralRMSNorm": RecomputeUnit.NORM,
    "MoE": RecomputeUnit.MLP,
    "ParallelTransformerLayer": RecomputeUnit.LAYER,
    "ParallelAttention": RecomputeUnit.ATTENTION,
    "ParallelMLP": RecomputeUnit.MLP,
    "NeuronSwitchMLP": RecomputeUnit.MLP,
}
"""Values of `activations_checkpoint_recompute` (B-6, "Class names")."""


def parts(model: ModelConfig) -> frozenset[RecomputeUnit]:
    """From the `model` section: the whole layer, the named classes (CoreAttention when none is), or nothing."""
    match model.activations_checkpoint_granularity:
        case "full":
            return frozenset({RecomputeUnit.LAYER})
        case "selective":
            names = model.activations_checkpoint_recompute or ("CoreAttention",)
            return frozenset(CLASSES[name] for name in names if name in CLASSES)
        case _:
            return frozenset()
