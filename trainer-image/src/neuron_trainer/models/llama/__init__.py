"""Llama (and Llama 2, 3, 3.1): `config` → `model`; `weights` exchanges tensors with `transformers`."""

from .config import LlamaConfig
from .model import LlamaForCausalLM

__all__ = ["LlamaConfig", "LlamaForCausalLM"]
