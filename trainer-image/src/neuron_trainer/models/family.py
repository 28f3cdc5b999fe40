"""From the configuration to a model: the only place that knows which families there are."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from neuron_api.config import TrainingConfig

from .llama import LlamaConfig, LlamaForCausalLM, initial, plan
from .llama import config as llama_config
from .roles import Role

RECOMPUTABLE = (
    "CoreAttention", "LlamaAttention", "LlamaMLP", "ActivationMultiplyMLP", "LlamaRMSNorm", "LlamaDecoderLayer",
)  # fmt: skip
"""Values of `model.activations_checkpoint_recompute`."""


@dataclass(frozen=True, slots=True)
class Family:
    """A model that is described but not yet built; the backend builds it."""

    config: LlamaConfig
    seed: int

    @classmethod
    def of(cls, config: TrainingConfig) -> "Family":
        """Read the model config; raises `InputError`."""
        return cls(llama_config.load(config.model), config.seed)

    def on_meta(self) -> LlamaForCausalLM:
        """The module without storage."""
        with torch.device("meta"):
            return LlamaForCausalLM(self.config)

    def tie(self, module: nn.Module) -> None:
        """Share again what the family shares, after a backend replaced parameters."""
        assert isinstance(module, LlamaForCausalLM)
        module.tie_weights()

    def draw(self, name: str, shape: torch.Size) -> Tensor:
        """The full initial value of a parameter, fp32 on the CPU."""
        return initial.draw(name, shape, self.config, self.seed)

    @property
    def roles(self) -> Mapping[str, Role]:
        """Module name to role."""
        return plan.roles(self.config)

    @property
    def layers(self) -> list[str]:
        """Names of the repeated layers."""
        return plan.layers(self.config)

    @property
    def divisions(self) -> Mapping[str, int]:
        """Sizes that must be multiples of the tensor-parallel size."""
        return plan.divisions(self.config)
