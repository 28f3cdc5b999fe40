"""Operators that a device does not have and that ran on the CPU instead: slow, and silent unless asked for."""

import sys
from collections import Counter

from .accelerator import Accelerator


def clear(accelerator: Accelerator) -> None:
    """Begin to count, where the vendor's package counts."""
    package = sys.modules.get(accelerator.package)
    if package is not None and hasattr(package, "clear_op_tracking"):
        package.clear_op_tracking()


def ops(accelerator: Accelerator) -> Counter[str]:
    """Return the operators that ran on the CPU since `clear`, and how often; empty where nothing counts them."""
    package = sys.modules.get(accelerator.package)
    if package is None or not hasattr(package, "get_fallback_ops"):
        return Counter()
    return Counter(map(str, package.get_fallback_ops()))
