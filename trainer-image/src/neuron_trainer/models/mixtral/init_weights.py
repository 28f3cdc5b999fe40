"""Initial weights as in `transformers`: N(0, initializer_range), norms 1, biases 0."""

import torch
from torch import Tensor

from neuron_trainer.models import init_weights

from .config import MixtralConfig


def init_parameter(name: str, shape: torch.Size, config: MixtralConfig, seed: int) -> Tensor:
    """The full parameter `name`, fp32 on the CPU."""
    return init_weights.init_parameter(name, shape, config.initializer_range, seed)
