"""Host memory from which, and to which, a device copies beside its computing: pinned, where the device has that.

Whether TorchNeuron pins memory is not published, and reports say that it raises; so the first attempt of a process
decides, and pageable memory serves as well, more slowly.
"""

import logging
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

log = logging.getLogger(__name__)

_PINS: Final[dict[str, bool]] = {}
"""By device type, whether memory can be pinned; empty before the first attempt."""


def host_buffer(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return an uninitialised host tensor that a device copies to; pinned where that is possible."""
    return torch.empty(shape, dtype=dtype, device="cpu", pin_memory=can_pin(device))


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a host tensor in memory that a device copies from beside its computing; itself where that has none."""
    return tensor.pin_memory() if can_pin(device) else tensor


def can_pin(device: torch.device) -> bool:
    """Return whether host memory can be pinned for a device; on the CPU there is nothing to pin it for."""
    if device.type not in _PINS:
        _PINS[device.type] = device.type != "cpu" and _attempt(device.type)
    return _PINS[device.type]


def _attempt(name: str) -> bool:
    try:
        return torch.empty(1, device="cpu", pin_memory=True).is_pinned()
    except (RuntimeError, NotImplementedError) as problem:
        log.info("%s: memory cannot be pinned (%s): copies go through pageable memory", name, first_line(problem))
        return False


def first_line(problem: BaseException) -> str:
    """Return what an error says, without the stack that PyTorch's C++ adds."""
    return str(problem).strip().partition("\n")[0] or type(problem).__name__
