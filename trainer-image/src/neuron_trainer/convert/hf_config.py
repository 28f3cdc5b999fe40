"""config.json out of the architecture that a manifest tells."""

from collections.abc import Mapping
from typing import Any, Final

from neuron_trainer.errors import CheckpointError

_CLASSES: Final = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "mixtral": "MixtralForCausalLM"}
_SAME: Final = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta", "max_position_embeddings", "initializer_range",
    "tie_word_embeddings", "attention_dropout",
)  # fmt: skip


def from_architecture(family: str, architecture: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """Return the config.json that `transformers` reads; raises `CheckpointError` for a model that it has not."""
    if family not in _CLASSES:
        raise CheckpointError(f"a {family or 'model of unknown family'} has no form in transformers: it stays as it is")
    values: dict[str, Any] = {"architectures": [_CLASSES[family]], "model_type": family, "hidden_act": "silu"}
    values |= {key: architecture[key] for key in _SAME} | {"torch_dtype": dtype, "use_cache": True}
    values["rope_scaling"] = _rope(architecture.get("rope_scaling"))
    if family == "llama":
        values |= {key: architecture[key] for key in ("attention_bias", "mlp_bias")}
    else:
        values["sliding_window"] = architecture.get("sliding_window")
    if family == "mixtral":
        values |= _experts(architecture["moe"])
    return values


def _rope(scaling: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    is_llama3 = scaling["rope_type"] == "llama3"
    return dict(scaling) if is_llama3 else {key: scaling[key] for key in ("rope_type", "factor")}


def _experts(moe: Mapping[str, Any]) -> dict[str, Any]:
    if moe.get("frequency", 1) != 1 or not moe.get("is_gated", True):
        raise CheckpointError("transformers' Mixtral has gated experts in every layer: this model is not one")
    return {
        "num_local_experts": moe["num_experts"],
        "num_experts_per_tok": moe["top_k"],
        "output_router_logits": moe.get("aux_loss_coef") is not None,
        "router_aux_loss_coef": moe.get("aux_loss_coef") or 0.0,
    }
