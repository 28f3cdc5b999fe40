"""The kinds of devices that a run computes on: what each can do, and how a process opens one.

Design: docs/design/022-devices.md.
"""

from .accelerator import Accelerator
from .registry import get

__all__ = ["Accelerator", "get"]
