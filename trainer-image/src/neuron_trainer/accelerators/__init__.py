"""The kinds of devices that a run computes on: what each can do, and how a process opens one.

Design: docs/design/022-devices.md.
"""

from .accelerator import Accelerator
from .cores import VISIBLE_CORES, visible_cores
from .device import (
    count,
    is_present,
    load,
    misfit,
    open_device,
    raise_deferred,
    synchronize,
)
from .memory import can_pin, host_buffer, pinned
from .registry import get, names

__all__ = [
    "VISIBLE_CORES",
    "Accelerator",
    "can_pin",
    "count",
    "get",
    "host_buffer",
    "is_present",
    "load",
    "misfit",
    "names",
    "open_device",
    "pinned",
    "raise_deferred",
    "synchronize",
    "visible_cores",
]
