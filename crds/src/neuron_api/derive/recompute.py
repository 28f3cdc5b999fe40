"""Parts of a layer that `activations_checkpoint_*` recomputes in the backward pass."""

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
"""Unit by class name, the values of `activations_checkpoint_recompute`."""


def recomputed_units(model: ModelConfig) -> frozenset[RecomputeUnit]:
    """Return the units of the `model` section: the layer, the named classes (default CoreAttention), or none."""
    match model.activations_checkpoint_granularity:
        case "full":
            return frozenset({RecomputeUnit.LAYER})
        case "selective":
            names = model.activations_checkpoint_recompute or ("CoreAttention",)
            return frozenset(CLASSES[name] for name in names if name in CLASSES)
        case _:
            return frozenset()
