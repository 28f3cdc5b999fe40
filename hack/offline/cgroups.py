"""The cluster's own control group, in every hierarchy of the machine (v1, v2 or both mixed).

The kubelet puts all pods below it (`cgroupRoot`), so two clusters never share `/kubepods`, and `down`
can remove everything by removing one subtree.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from controlplane.locations import fingerprint
from controlplane.shell import wait_until


def cgroup_name(state: Path) -> str:
    """Name of the cluster's group; the same for the same state directory."""
    return f"nto-{fingerprint(str(state))}"


def create(name: str) -> None:
    """Make the group everywhere, usable for pods: cpuset filled (v1), controllers handed down (v2)."""
    for root in _hierarchies():
        group = root / name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (root / "cgroup.procs").exists() and (group / setting).exists() and not _is_v2(root):
                (group / setting).write_text((root / setting).read_text())
        if _is_v2(root):
            for controller in (root / "cgroup.controllers").read_text().split():
                with suppress(
                    OSError
                ):  # real-time processes or threads may forbid one; the kubelet says if it needs it
                    (root / "cgroup.subtree_control").write_text(f"+{controller}")


def remove(name: str) -> None:
    """Remove the group with all below it, once the processes in it are gone."""
    for root in _hierarchies():
        wait_until(f"removal of control group {root / name}", lambda root=root: _removed(root / name), seconds=20)


def kill(name: str) -> None:
    """End every process in the group and below it, and wait until they are gone."""
    wait_until(f"end of the processes in {name}", lambda: not _killed(name), seconds=20)


def _killed(name: str) -> int:
    """Processes that were still there, and were sent SIGKILL."""
    groups = [root / name for root in _hierarchies()]
    found = {int(pid) for group in groups for file in group.rglob("cgroup.procs") for pid in file.read_text().split()}
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(found)


def _removed(group: Path) -> bool:
    if not group.exists():
        return True
    below = sorted((path for path in group.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts))
    for path in [*below, group]:
        with suppress(OSError):  # still busy: the caller comes back
            path.rmdir()
    return not group.exists()


def _hierarchies() -> list[Path]:
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(point) for point, kind in mounts if kind in {"cgroup", "cgroup2"}]


def _is_v2(root: Path) -> bool:
    return (root / "cgroup.controllers").exists()
