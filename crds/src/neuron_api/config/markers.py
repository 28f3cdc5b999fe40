"""Markers in a field's `Annotated`: how far this release supports the key, and on which devices it has an effect.

A field without a marker is supported and takes effect on every device. `schema.support` and `schema.effects` read the
markers; tests/unit/api/test_effects.py finds, for every supported key, the code that reads it.
"""

from dataclasses import dataclass
from typing import Final

from neuron_api.resource.accelerator import Accelerator


@dataclass(frozen=True, slots=True)
class Ignored:
    """The key has no effect in this release, and its value does not change the results: a warning (NTJ-4003)."""


@dataclass(frozen=True, slots=True)
class NotSupported:
    """Any value but the default of a key, not of a section, is refused: NTJ-4001."""

    without: str = "Removing it changes what is trained: decide that on purpose."
    """What a run without the key would do; ends the message."""
    name: str = ""
    """Name in the message; empty for the value."""


@dataclass(frozen=True, slots=True)
class OnlyValues:
    """Only some values are supported; others are refused: NTJ-4001."""

    values: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class MegatronOnly:
    """The key is read with model_source megatron only, and refused without it: NTJ-4001, or NTJ-4002 for a section."""

    with_records: bool = False
    """Fine-tuning also reads the key, whatever the model_source."""


SupportMarker = Ignored | NotSupported | OnlyValues | MegatronOnly


BACKENDS: Final = ("native", "xla")
"""What trains on devices: `xla` on Trn1, and `native` everywhere else."""


@dataclass(frozen=True, slots=True)
class NoEffect:
    """No value of this key changes a training run on these devices."""

    why: str
    """Ends the sentence `no effect on cpu: …`."""
    devices: tuple[Accelerator, ...] = tuple(Accelerator)
    unless: str = ""
    """Path of another key; if that has a value other than its default, this key takes effect."""
    backends: tuple[str, ...] = BACKENDS
    """Of the trainer, with which no value changes anything."""


WITHOUT_NEURON: Final = (Accelerator.CPU, Accelerator.CUDA)
"""The devices that are not Neuron's."""

NO_COMPILER: Final = NoEffect("nothing is compiled there by default", (Accelerator.CPU,), unless="model.compile")
"""For keys of compilers."""

NEURON_ONLY: Final = NoEffect("only Neuron's compiler and runtime read it", WITHOUT_NEURON)
"""For keys that are passed on as an environment variable and do not affect PyTorch."""

NO_KERNEL: Final = NoEffect("PyTorch chooses the attention kernel", backends=("native",))
"""For keys of the SDK's attention kernels, which only the backend `xla` calls."""
