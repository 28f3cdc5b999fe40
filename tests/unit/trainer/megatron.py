"""Megatron models of tiny sizes, by the keys of the `model` section."""

from typing import Any

from neuron_api.config import TrainingConfig

SIZES: dict[str, Any] = {
    "encoder_seq_length": 64,
    "num_layers": 4,
    "hidden_size": 32,
    "ffn_hidden_size": 80,
    "num_attention_heads": 4,
    "optim": {"name": "adamw", "lr": 1e-3},
}
GPT: dict[str, Any] = {
    "position_embedding_type": "learned_absolute",
    "normalization": "layernorm",
    "activation": "gelu",
    "has_bias": True,
    "share_embeddings_and_output_weights": True,
}
MOE = {"num_experts": 4, "top_k": 2}
SHAPES: dict[str, dict[str, Any]] = {
    "gpt": GPT,
    "llama": {"num_kv_heads": 2},
    "mistral": {"num_kv_heads": 2, "sliding_window_size": 9},
    "mixtral": {"num_kv_heads": 2, "moe": MOE},
    "experts in every third layer": {"moe": {**MOE, "frequency": 3}},
    "experts without gate": {**GPT, "moe": {**MOE, "glu_mlp": False, "frequency": 2}},
    "gated experts beside a plain mlp": {**GPT, "moe": {**MOE, "frequency": 2}},
    "one expert": {"moe": {"num_experts": 1}},
    "geglu with biases": {"activation": "geglu", "has_bias": True},
    "wide heads": {"kv_channels": 24, "rotary_percentage": 0.5},
    "long table": {**GPT, "max_position_embeddings": 200},
}
"""Changes of the sizes."""


def section(model_source: str = "hf", *, tensor: int = 1, **model: Any) -> TrainingConfig:
    """A whole configuration with these keys in `model`."""
    sizes = SIZES if model_source == "megatron" else {name: SIZES[name] for name in ("encoder_seq_length", "optim")}
    return TrainingConfig.model_validate(
        {
            "name": "t",
            "model_source": model_source,
            "seed": 1,
            "trainer": {"devices": tensor, "num_nodes": 1, "max_steps": 10},
            "exp_manager": {},
            "distributed_strategy": {"tensor_model_parallel_size": tensor},
            "data": {"micro_batch_size": 1, "global_batch_size": 1},
            "model": {**sizes, **model},
            "precision": {},
        }
    )
