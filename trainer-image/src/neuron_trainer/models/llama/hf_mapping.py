"""Names in `transformers`: the same; a tied head has no tensor of its own on either side."""

from neuron_trainer.models.hf_tensor import HFTensor

from .config import LlamaConfig


def hf_tensor(name: str, _: LlamaConfig) -> HFTensor:
    """Of the parameter `name`."""
    return HFTensor((name,))
