"""Megatron's models, written out in the `model` section: GPT-2 to Llama, Mistral and Mixtral.

`config` → `model`. Parameter names are those of Llama, so weights of a Megatron Llama are a Hugging Face Llama's; a
general model has no form in `transformers`, so `family` has no names there.
"""

from .config import MegatronConfig
from .model import MegatronForCausalLM

__all__ = ["MegatronConfig", "MegatronForCausalLM"]
