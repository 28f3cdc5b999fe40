"""Whether the copies of a node fit into its shared memory, and beside its processes below the container's limit."""

import shutil
from pathlib import Path
from typing import Final

from neuron_api import memory_copies
from neuron_api.findings.finding import error
from neuron_trainer.errors import InputError
from neuron_trainer.storage.files import decimal_size

_KEY: Final = memory_copies.KEY
_CGROUP: Final = Path("/sys/fs/cgroup")
"""Of a container, where it sees nothing but its own control group."""
_UNLIMITED: Final = 1 << 60
"""Version 1 of control groups writes a limit near 2 to the 63rd where there is none."""


def check(needed: int, processes: int, folder: Path, cgroup: Path = _CGROUP) -> None:
    """Raise `InputError` where the copies of this node do not fit into shared memory, or not with the processes into
    the container's limit.

    `needed`: bytes of all copies; the processes' own reservations follow, which are exact. `processes`: what the
    processes themselves need in host memory, at least.
    """
    own = sum(path.stat().st_blocks * 512 for path in folder.glob("*-*")) if folder.exists() else 0
    free = shutil.disk_usage(folder.parent).free + own
    if free < needed:
        message = (
            f"the copies need {decimal_size(needed)} of shared memory, and {folder.parent} has {decimal_size(free)}."
        )
        raise InputError([error(_KEY, message, "Give it more (with Docker --shm-size), or remove the field.")])
    available = _left_of_limit(cgroup)
    if available is not None and available + own < needed + processes:
        beside = f" and the processes {decimal_size(processes)}" if processes else ""
        message = (
            f"the copies need {decimal_size(needed)}{beside}, and the container may take "
            f"{decimal_size(available + own)} more."
        )
        raise InputError([error(_KEY, message, "Raise the container's memory limit, or remove the field.")])


def _left_of_limit(cgroup: Path) -> int | None:
    """Return the bytes below the memory limit of this process's control group; None without a limit."""
    versions = (
        (cgroup, "memory.max", "memory.current", "inactive_file"),
        (cgroup / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    )
    for folder, *names, cached in versions:
        try:
            limit, used = ((folder / name).read_text().strip() for name in names)
            lines = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
            freeable = next((int(value) for name, value in lines if name == cached), 0)
            if limit == "max" or int(limit) >= _UNLIMITED:
                return None
            return max(0, int(limit) - int(used) + freeable)
        except (OSError, ValueError):
            continue
    return None
