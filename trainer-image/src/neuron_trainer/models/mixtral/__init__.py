"""Mixtral: Mistral's attention and a mixture of experts; `weights` exchanges tensors with `transformers`."""

from .config import MixtralConfig
from .model import MixtralForCausalLM

__all__ = ["MixtralConfig", "MixtralForCausalLM"]
