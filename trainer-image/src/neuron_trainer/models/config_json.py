"""Hugging Face's `config.json`: reading it, and the keys that Llama, Mistral and Mixtral have in common."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from neuron_api.config import ModelConfig
from neuron_api.findings import Finding, Severity
from neuron_trainer.errors import InputError

from .blocks.rotary import RopeScaling

SUPPORTED_ROPE: Final = ("default", "linear", "dynamic", "llama3")


def read(model: ModelConfig) -> dict[str, Any]:
    """The file `model.model_config`, or the one in that directory, parsed; raises `InputError`."""
    path = Path(str(model.model_config_path)).expanduser()
    path = path / "config.json" if path.is_dir() else path
    try:
        values: dict[str, Any] = json.loads(path.read_text())
    except OSError as problem:
        raise wrong(
            f"{path} cannot be read: {problem.strerror}.", "Give the path of a Hugging Face config.json."
        ) from None
    except ValueError as problem:
        raise wrong(f"{path} is not JSON: {problem}.") from None
    return values


def common(values: Mapping[str, Any], overrides: ModelConfig | None) -> dict[str, Any]:
    """Fields of `LlamaConfig` with the overrides; one of the hidden size keeps the number of heads. `InputError`."""
    if values.get("hidden_act", "silu") != "silu":
        raise wrong(f"hidden_act {values['hidden_act']!r} is not supported.", "Use silu.")
    try:
        return _fields(values, overrides)
    except KeyError as missing:
        raise wrong(f"config.json has no {missing}.") from None


def wrong(message: str, remedy: str = "", key: str = "model.model_config") -> InputError:
    """One finding about the architecture."""
    return InputError([Finding(Severity.ERROR, key, message, remedy)])


def _fields(values: Mapping[str, Any], overrides: ModelConfig | None) -> dict[str, Any]:
    rope = {**(values.get("rope_scaling") or {}), **(values.get("rope_parameters") or {})}
    hidden = (overrides and overrides.hidden_size) or values["hidden_size"]
    heads = values["num_attention_heads"]
    own_head_dim = values.get("head_dim") if hidden == values["hidden_size"] else None
    if not own_head_dim and hidden % heads:
        raise wrong(f"hidden_size {hidden} is not a multiple of num_attention_heads {heads}.", key="model.hidden_size")
    length = values.get("max_position_embeddings", 2048)
    return {
        "vocab_size": values["vocab_size"],
        "hidden_size": hidden,
        "intermediate_size": values["intermediate_size"],
        "num_hidden_layers": (overrides and overrides.num_layers) or values["num_hidden_layers"],
        "num_attention_heads": heads,
        "num_key_value_heads": values.get("num_key_value_heads") or heads,
        "head_dim": own_head_dim or hidden // heads,
        "rms_norm_eps": values.get("rms_norm_eps", 1e-6),
        "rope_theta": (overrides and overrides.rope_theta)
        or values.get("rope_theta")
        or rope.get("rope_theta")
        or 10000.0,
        "rope_scaling": _rope_scaling(rope, length),
        "max_position_embeddings": (overrides and overrides.max_position_embeddings) or length,
        "initializer_range": values.get("initializer_range", 0.02),
        "tie_word_embeddings": values.get("tie_word_embeddings", False),
        "attention_dropout": values.get("attention_dropout", 0.0),
    }


def _rope_scaling(rope: Mapping[str, Any], length: int) -> RopeScaling | None:
    """`length`: config.json's own limit; `dynamic` stretches what is longer, so an override must not move it."""
    kind = rope.get("rope_type") or rope.get("type") or "default"
    match kind:
        case "default":
            return None
        case "linear":
            return RopeScaling(kind, rope["factor"])
        case "dynamic":
            return RopeScaling(kind, rope["factor"], length)
        case "llama3":
            names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
            return RopeScaling(kind, **{name: rope[name] for name in names})
    raise wrong(f"rope_scaling of type {kind!r} is not supported by this release.", f"Use {', '.join(SUPPORTED_ROPE)}.")
