"""What the processes of a job compute on. Apart from `spec`, since the trainer's command line names the three devices
before it does anything, and pydantic would take two thirds of the time of `neuron-train --help`."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from neuron_api.findings.suggestions import misspelled


class Accelerator(StrEnum):
    """What the processes compute on."""

    NEURON = "Neuron"
    CPU = "CPU"
    CUDA = "CUDA"

    @property
    def device(self) -> str:
        """Return PyTorch's name of the device: `neuron`, `cpu` or `cuda`."""
        return self.lower()

    @classmethod
    def meant_by(cls, word: str) -> "Accelerator | None":
        """Return the accelerator that a word is probably for: a common word for it, or a misspelled name."""
        near = _COMMON_WORDS.get(word.lower()) or misspelled(word, cls)
        return cls(near) if near else None


_COMMON_WORDS: Final[Mapping[str, Accelerator]] = {
    **dict.fromkeys(("gpu", "gpus", "nvidia"), Accelerator.CUDA),
    **dict.fromkeys(("trainium", "trn", "xla", "aws-neuron", "neuroncore"), Accelerator.NEURON),
}
"""Names that other software has for them."""


class Stack(StrEnum):
    """A way in which PyTorch runs on Trainium; each has a trainer image of its own."""

    TORCHNEURON = "torchneuron"
    """PyTorch's device `neuron`, from SDK 2.33 on: Trn2 and Trn3 (upstream-facts.md#torchneuron-packages)."""
    XLA = "nxd"
    """PyTorch/XLA 2.9 with neuronx-distributed, of SDK 2.28 and 2.29: the only one for Trn1
    (upstream-facts.md#pytorch-xla)."""

    @property
    def device(self) -> str:
        """Return PyTorch's name of the device."""
        return "xla" if self is Stack.XLA else "neuron"
