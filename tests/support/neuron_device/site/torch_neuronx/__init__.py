"""A stand-in of TorchNeuron: the device `neuron` in host memory, with the rules of the stack enforced.

Not the vendor's package and without a line of it. It has the vendor's module name, entry point and public functions,
so that what runs on it is what will run on the device. Design: docs/design/022-devices.md, "The stand-in". What it
enforces, with sources (docs/reference/upstream-facts.md#torchneuron-rules).
"""

import torch

from . import _C, neuron, observer, process_group, runtime
from .neuron import (
    Event,
    Stream,
    current_device,
    current_stream,
    default_stream,
    device_count,
    memory_allocated,
    set_device,
    stream,
    synchronize,
)
from .runtime import is_neuron_runtime_initialized

__all__ = [
    "Event",
    "Stream",
    "clear_op_tracking",
    "current_device",
    "current_stream",
    "default_stream",
    "device_count",
    "get_executed_ops",
    "get_fallback_ops",
    "is_neuron_runtime_initialized",
    "memory_allocated",
    "set_device",
    "stream",
    "synchronize",
]
__version__ = "2.14.0+standin"


def _autoload() -> None:
    """Be the entry point that PyTorch loads by itself: importing this module has done all there is to do."""


def get_fallback_ops() -> list[str]:
    """Return the operators that were computed on the host, each once."""
    return sorted(_C.fallbacks())


def get_executed_ops() -> list[str]:
    """Return the operators that ran on the device. Counted only where the observer is on (`NEURON_STANDIN_REPORT`)."""
    return sorted(set(_C.operators()) - set(_C.fallbacks()))


def clear_op_tracking() -> None:
    """Forget the operators that were computed on the host."""
    _C.clear_fallbacks()


def _register() -> None:
    torch.utils.rename_privateuse1_backend("neuron")
    torch._register_device_module("neuron", neuron)
    torch.utils.generate_methods_for_privateuse1_backend(for_tensor=True, for_module=True, for_storage=True)
    runtime.register()
    process_group.register()
    observer.register()


_register()
