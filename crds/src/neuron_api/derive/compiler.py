"""What compiles the blocks of a model: `model.compile`, or the compiler of the device."""

from collections.abc import Mapping
from typing import Final

from neuron_api.config import TrainingConfig

AUTO: Final = "auto"
EAGER: Final = "eager"

OF_DEVICE: Final[Mapping[str, str]] = {"neuron": "neuron", "cuda": "inductor"}
"""Backends of `torch.compile` by the device that has one; on another device nothing is compiled by default."""


def backend(config: TrainingConfig, device: str) -> str | None:
    """Return the backend of `torch.compile` on a device of PyTorch's name; None: nothing is compiled."""
    chosen = config.model.compile
    if chosen == EAGER:
        return None
    return OF_DEVICE.get(device) if chosen == AUTO else chosen
