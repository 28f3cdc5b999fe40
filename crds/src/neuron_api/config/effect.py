"""Metadata of a field that has no effect on some device, or only together with another key.

A field without it takes effect on every device; tests/unit/api/test_effects.py finds the code that reads it.
"""

from dataclasses import dataclass
from typing import Final

from neuron_api.resource.spec import Accelerator


@dataclass(frozen=True, slots=True)
class NoEffect:
    """In a field's `Annotated`: no value of this key changes a training run on these devices."""

    why: str
    """Ends the sentence `no effect on cpu: …`."""
    devices: tuple[Accelerator, ...] = tuple(Accelerator)
    unless: str = ""
    """Path of another key; if that has a value other than its default, this key takes effect."""


NEURON_ONLY: Final = NoEffect("only Neuron's compiler and runtime read it", (Accelerator.CPU,))
"""For keys that are passed on as an environment variable and do not affect PyTorch."""
