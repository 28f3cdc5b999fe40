"""The accelerators there are, by PyTorch's name of the device. A new one is a line here."""

from typing import Final

import torch

from .accelerator import Accelerator

_ALL: Final = {
    "cpu": Accelerator(name="cpu", collectives="gloo", widest=torch.float64, compiler=None),
    "neuron": Accelerator(name="neuron", collectives="neuron", widest=torch.float32, compiler="neuron"),
    "cuda": Accelerator(name="cuda", collectives="nccl", widest=torch.float32, compiler="inductor"),
}


def get(name: str) -> Accelerator:
    """Return the accelerator of a device type."""
    return _ALL[name]
