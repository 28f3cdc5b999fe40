"""How adapters begin: B A = 0, so that the first step is the base model's."""

import torch
from torch import Tensor

from neuron_trainer.models import spec

from . import names


def init_parameter(name: str, shape: torch.Size, seed: int) -> Tensor:
    """Return the full initial value of an adapter's parameter, fp32 on the CPU; as PEFT's, whose layers say the same.

    A of a linear, [r, in]: kaiming-uniform with a = sqrt 5, which is U(-1/sqrt(in), 1/sqrt(in)); B zero. Of an
    embedding A is zero and B, [out, r], N(0, 1). Drawn by name from the run's seed, whatever the model is split over.
    """
    if name.endswith(f"{names.A}.weight"):
        bound = shape[1] ** -0.5
        return torch.empty(shape).uniform_(-bound, bound, generator=spec.generator(name, seed))
    if name.endswith(names.EMBEDDING_B):
        return torch.empty(shape).normal_(generator=spec.generator(name, seed))
    return torch.zeros(shape)
