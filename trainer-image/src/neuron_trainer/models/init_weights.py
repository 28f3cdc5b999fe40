"""Initial weights that do not depend on how the model is split or in what order it is built.

Each parameter is drawn in full from a generator seeded by the run's seed and the parameter's name; a backend cuts its
shard out of it. Norms are 1, biases 0, all others normal; a family's `initial` gives the deviation.
"""

import hashlib

import torch
from torch import Tensor


def init_parameter(name: str, shape: torch.Size, deviation: float, seed: int) -> Tensor:
    """The full parameter `name`, fp32 on the CPU: N(0, deviation) unless it is a norm's or a bias."""
    if name.endswith("norm.weight"):
        return torch.ones(shape)
    if name.endswith(".bias"):
        return torch.zeros(shape)
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
    return torch.empty(shape).normal_(0.0, deviation, generator=generator)
