"""The architecture of a Mistral, in Llama's terms."""

from collections.abc import Mapping
from typing import Any, Final

from neuron_api.config import ModelConfig
from neuron_trainer.models import config_json
from neuron_trainer.models.llama.config import LlamaConfig

DEFAULTS: Final[Mapping[str, Any]] = {
    "num_key_value_heads": 8, "sliding_window": 4096, "max_position_embeddings": 4096 * 32,
}  # fmt: skip
"""What `transformers` takes where a Mistral's config.json is silent and a Llama's means something else."""


def from_values(values: Mapping[str, Any], overrides: ModelConfig | None = None) -> LlamaConfig:
    """The typed form of a parsed `config.json`; raises `InputError`. There are no biases."""
    values = {**DEFAULTS, **values}
    return LlamaConfig(**config_json.common(values, overrides), sliding_window=values["sliding_window"])
