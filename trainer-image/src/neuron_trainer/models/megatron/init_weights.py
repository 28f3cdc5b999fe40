"""Initial weights: N(0, init_method_std), divided by sqrt(2 layers) for the projections that end a block.

So the variance of the residual stream does not grow with the depth (GPT-2, section 2.3). Embeddings: like all others.
"""

from math import sqrt
from typing import Final

import torch
from torch import Tensor

from neuron_trainer.models import init_weights

from .config import MegatronConfig

_ENDS: Final = ("o_proj.weight", "down_proj.weight", "experts.down_proj")


def init_parameter(name: str, shape: torch.Size, config: MegatronConfig, seed: int) -> Tensor:
    """The full parameter `name`, fp32 on the CPU."""
    is_scaled = config.use_scaled_init_method and name.endswith(_ENDS)
    deviation = config.init_method_std / (sqrt(2 * config.num_layers) if is_scaled else 1)
    return init_weights.init_parameter(name, shape, deviation, seed)
