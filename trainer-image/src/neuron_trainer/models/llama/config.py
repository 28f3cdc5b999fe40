"""The architecture, from a Hugging Face `config.json` and the overrides of the `model` section."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from neuron_api.config import ModelConfig
from neuron_api.findings import Finding, Severity
from neuron_trainer.errors import InputError

SUPPORTED_MODEL_TYPES: Final = ("llama",)
SUPPORTED_ROPE: Final = ("default", "llama3")


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """Llama 3.1's stretching of the rotary frequencies (arXiv:2407.21783, section 3.4.2; formula in `rotary`)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """Sizes and constants; names are those of `config.json`."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    max_position_embeddings: int
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    rope_scaling: RopeScaling | None = None


def load(model: ModelConfig) -> LlamaConfig:
    """Read `model.model_config` (a file or its directory) and apply the overrides; raises `InputError`."""
    path = Path(str(model.model_config_path)).expanduser()
    path = path / "config.json" if path.is_dir() else path
    try:
        values = json.loads(path.read_text())
    except OSError as problem:
        raise _wrong(
            f"{path} cannot be read: {problem.strerror}.", "Give the path of a Hugging Face config.json."
        ) from None
    except ValueError as problem:
        raise _wrong(f"{path} is not JSON: {problem}.") from None
    return from_values(values, model)


def from_values(values: dict[str, Any], overrides: ModelConfig | None = None) -> LlamaConfig:
    """The typed form of a parsed `config.json`; an override of the hidden size keeps the number of heads."""
    if (kind := values.get("model_type", "llama")) not in SUPPORTED_MODEL_TYPES:
        raise _wrong(
            f"model_type {kind!r} is not supported by this release.", f"Use {', '.join(SUPPORTED_MODEL_TYPES)}."
        )
    if values.get("hidden_act", "silu") != "silu":
        raise _wrong(f"hidden_act {values['hidden_act']!r} is not supported for Llama.", "Use silu.")
    try:
        return _typed(values, overrides)
    except KeyError as missing:
        raise _wrong(f"config.json has no {missing}.") from None


def _typed(values: dict[str, Any], overrides: ModelConfig | None) -> LlamaConfig:
    rope = {**(values.get("rope_scaling") or {}), **(values.get("rope_parameters") or {})}
    hidden = (overrides and overrides.hidden_size) or values["hidden_size"]
    heads = values["num_attention_heads"]
    own_head_dim = values.get("head_dim") if hidden == values["hidden_size"] else None
    if not own_head_dim and hidden % heads:
        raise _wrong(f"hidden_size {hidden} is not a multiple of num_attention_heads {heads}.", key="model.hidden_size")
    return LlamaConfig(
        vocab_size=values["vocab_size"],
        hidden_size=hidden,
        intermediate_size=values["intermediate_size"],
        num_hidden_layers=(overrides and overrides.num_layers) or values["num_hidden_layers"],
        num_attention_heads=heads,
        num_key_value_heads=values.get("num_key_value_heads") or heads,
        head_dim=own_head_dim or hidden // heads,
        rms_norm_eps=values.get("rms_norm_eps", 1e-6),
        rope_theta=(overrides and overrides.rope_theta)
        or values.get("rope_theta")
        or rope.get("rope_theta")
        or 10000.0,
        max_position_embeddings=(overrides and overrides.max_position_embeddings)
        or values.get("max_position_embeddings", 2048),
        initializer_range=values.get("initializer_range", 0.02),
        tie_word_embeddings=values.get("tie_word_embeddings", False),
        attention_bias=values.get("attention_bias", False),
        mlp_bias=values.get("mlp_bias", False),
        rope_scaling=_rope_scaling(rope),
    )


def _rope_scaling(rope: dict[str, Any]) -> RopeScaling | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind not in SUPPORTED_ROPE:
        raise _wrong(
            f"rope_scaling of type {kind!r} is not supported by this release.", f"Use {', '.join(SUPPORTED_ROPE)}."
        )
    if kind == "default":
        return None
    return RopeScaling(**{name: rope[name] for name in RopeScaling.__dataclass_fields__})


def _wrong(message: str, remedy: str = "", key: str = "model.model_config") -> InputError:
    return InputError([Finding(Severity.ERROR, key, message, remedy)])
