"""A Mistral in Llama's terms.

Its config has a sliding window and no biases; initial weights, names in `transformers` and roles are Llama's.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from neuron_api.config import ModelConfig
from neuron_api.derive.config_json import with_defaults
from neuron_trainer.models import config_json
from neuron_trainer.models.llama import family as llama
from neuron_trainer.models.llama.config import LlamaConfig

KIND: Final = "mistral"


def from_values(values: Mapping[str, Any], overrides: ModelConfig | None = None) -> LlamaConfig:
    """Return the typed form of a parsed `config.json`.

    Without `sliding_window` the window is of 4096 tokens; with null there is none. Biases are not read.

    Raises:
        InputError: a key is missing, or has a value that no model has.
    """
    values = with_defaults(values, KIND)
    return LlamaConfig(**config_json.common(values, overrides), sliding_window=values["sliding_window"])


FAMILY: Final = replace(
    llama.FAMILY, kind=KIND, from_json=from_values, hf_class="MistralForCausalLM", hf_keys=("sliding_window",)
)
