"""The architecture, from a Hugging Face `config.json` and the `model` section with its `moe`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from neuron_api.config import ModelConfig
from neuron_api.derive.config_json import with_defaults
from neuron_trainer.models import config_json
from neuron_trainer.models.blocks.moe import MoeSettings
from neuron_trainer.models.llama.config import LlamaConfig

_THETA: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtralConfig(LlamaConfig):
    """Sizes and constants; names are those of `config.json`."""

    moe: MoeSettings

    def has_experts(self, layer: int) -> bool:
        """Return whether the layer (from 0) has experts; the others have an MLP of the width of one."""
        return layer % self.moe.frequency == 0

    @property
    def layers_with_experts(self) -> int:
        """Return how many there are."""
        return sum(map(self.has_experts, range(self.num_hidden_layers)))


def from_values(values: Mapping[str, Any], overrides: ModelConfig | None = None) -> MixtralConfig:
    """The typed form of a parsed `config.json`; raises `InputError`.

    `max_position_embeddings` is the larger one of the file's and the override.
    """
    values = with_defaults(values, "mixtral")
    if not values.get("rope_parameters") and not values.get("rope_theta"):
        values["rope_theta"] = _THETA
    fields = config_json.common(values, overrides)
    fields["max_position_embeddings"] = max(fields["max_position_embeddings"], values["max_position_embeddings"])
    moe = overrides.moe if overrides else None
    return MixtralConfig(
        **fields,
        sliding_window=values["sliding_window"],
        moe=_of_json(values) if moe is None else MoeSettings.from_config(moe, values["num_local_experts"], "softmax"),
    )


def _of_json(values: Mapping[str, Any]) -> MoeSettings:
    """Without `model.moe`: as `transformers` computes it. Nothing is dropped; a single affinity is normalised, too."""
    return MoeSettings(
        num_experts=values["num_local_experts"],
        top_k=values["num_experts_per_tok"],
        aux_loss_coef=values["router_aux_loss_coef"] if values["output_router_logits"] else None,
    )
