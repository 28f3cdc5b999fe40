"""Mixtral: Mistral's attention and a mixture of experts; `family` has what else the trainer asks."""

from .config import MixtralConfig
from .model import MixtralForCausalLM

__all__ = ["MixtralConfig", "MixtralForCausalLM"]
