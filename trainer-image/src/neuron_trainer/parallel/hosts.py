"""The process group of what lives in host memory: votes, objects, barriers, staged checkpoints.

On the CPU it is the default group. Beside a device it is a gloo group of its own: a device's process group that is
written in Python replaces PyTorch's composite one, and takes no host tensors (`_new_process_group_helper`, torch 2.14).
"""

from datetime import timedelta
from typing import Final

import torch.distributed as dist
from torch.distributed import ProcessGroup

_GROUPS: Final[dict[str, ProcessGroup]] = {}


def init(accelerator: str, timeout: timedelta) -> None:
    """Make the group, once the default one is there; a collective."""
    _GROUPS.clear()
    if accelerator != "cpu":
        hosts = dist.new_group(backend="gloo", timeout=timeout)
        assert isinstance(hosts, ProcessGroup), "every process is a member"
        _GROUPS["hosts"] = hosts


def group() -> ProcessGroup | None:
    """Return the group; None is PyTorch's default one."""
    return _GROUPS.get("hosts")
