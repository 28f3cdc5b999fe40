"""Llama (and Llama 2, 3, 3.1): `config` → `model`; `family` has what else the trainer asks."""

from .config import LlamaConfig
from .model import LlamaForCausalLM

__all__ = ["LlamaConfig", "LlamaForCausalLM"]
