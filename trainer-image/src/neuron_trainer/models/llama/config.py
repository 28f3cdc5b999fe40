"""The architecture, from a Hugging Face `config.json` and the overrides of the `model` section."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neuron_api.config import ModelConfig
from neuron_trainer.models import config_json
from neuron_trainer.models.blocks.rotary import Rope, RopeScaling


@dataclass(frozen=True, slots=True, kw_only=True)
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
    rope_scaling: RopeScaling | None = None
    max_position_embeddings: int
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False
    attention_dropout: float = 0.0
    attention_bias: bool = False
    mlp_bias: bool = False
    sliding_window: int | None = None
    """Tokens that a query sees, itself included (Mistral); None: all before it."""

    @property
    def rope(self) -> Rope:
        """Rotary positions."""
        return Rope(self.rope_theta, self.head_dim, self.rope_scaling)

    @property
    def max_sequence(self) -> int | None:
        """Longest sample; stretched frequencies go on without a limit."""
        return None if self.rope_scaling else self.max_position_embeddings


def from_values(values: Mapping[str, Any], overrides: ModelConfig | None = None) -> LlamaConfig:
    """The typed form of a parsed `config.json`; raises `InputError`."""
    return LlamaConfig(
        **config_json.common(values, overrides),
        attention_bias=values.get("attention_bias", False),
        mlp_bias=values.get("mlp_bias", False),
    )
