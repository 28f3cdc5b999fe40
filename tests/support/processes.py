"""Processes that a test waits for by the kernel's word, not by looking again and again."""

import os
import select
from typing import Final

BOUND: Final = 60.0
"""Seconds; what was just killed may not have been scheduled since."""


def has_ended(pid: int) -> bool:
    """Wait until a process has ended; a zombie has."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], BOUND)[0])
    finally:
        os.close(process)
