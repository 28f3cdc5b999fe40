"""The folder in shared memory that the copies of this node's processes lie in: made, taken over and removed here.

It is the launcher's, so copies outlive the processes. A launcher that is killed leaves it, and one that ends early with
steps that no checkpoint has. The next start of the same run takes it over (which of its copies count, the processes
decide), and the start of any run removes it once it is old.
A lock that the kernel gives up with its holder says whether a launcher lives.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from neuron_api import memory_copies
from neuron_api.findings.finding import error
from neuron_trainer.checkpoint.memory.slot import header_of
from neuron_trainer.errors import InputError
from neuron_trainer.storage.files import decimal_size

log = logging.getLogger(__name__)

SHARED_MEMORY: Final = Path("/dev/shm")
_PREFIX: Final = "neuron-train-memory-"
_LOCK: Final = "owner"
_KEY: Final = memory_copies.KEY
_CGROUP: Final = Path("/sys/fs/cgroup")
"""Of a container, where it sees nothing but its own control group."""
ORPHAN_SECONDS: Final = 600.0
"""For so long after its last copy the folder of a dead launcher waits for another start of its run."""


class MemoryFolder:
    """Exists while it is entered, and after that only where it has a step that storage lacks."""

    def __init__(
        self,
        log_dir: Path,
        job_uid: str,
        node_rank: int,
        place: Path = SHARED_MEMORY,
        stored: Callable[[], int] = lambda: sys.maxsize,
    ) -> None:
        """`stored` returns the step of the newest checkpoint."""
        digest = hashlib.sha256(f"{job_uid}\n{log_dir.absolute()}\n{node_rank}".encode()).hexdigest()[:16]
        self._place, self.path = place, place / f"{_PREFIX}{digest}"
        self._lock, self._stored = -1, stored
        self.is_over = False
        """Whether the run has ended, so that nothing will go on from here."""

    def __enter__(self) -> "MemoryFolder":
        self._lock = _lock(self.path)
        remove_orphans(self._place)
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if step := self._step_to_keep():
            log.warning("%s keeps step %d, which no checkpoint has: start the run again here to go on", self.path, step)
        else:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def _step_to_keep(self) -> int:
        """Return the newest step that only memory has; 0: there is none."""
        if self.is_over:
            return 0
        headers = (header_of(path) for path in self.path.glob("rank-*"))
        newest = max((header.step for header in headers if header is not None), default=0)
        if not newest:
            return 0
        try:
            return newest if newest > self._stored() else 0
        except OSError:  # Storage does not answer: what is in doubt stays.
            return newest


def remove_orphans(place: Path, seconds: float = ORPHAN_SECONDS) -> list[Path]:
    """Remove what dead launchers of other runs have left, and return it."""
    removed = []
    for folder in sorted(place.glob(f"{_PREFIX}*")):
        with suppress(OSError):  # it is another user's, or gone
            if _age(folder) >= seconds and not _is_held(folder):
                shutil.rmtree(folder)
                removed.append(folder)
    if removed:
        log.info("removed what dead launchers have left in shared memory: %s", ", ".join(map(str, removed)))
    return removed


def _lock(folder: Path) -> int:
    """Make the folder, or take it over; raises `InputError` where another launcher has it."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        message = f"{folder} cannot be made: {problem.strerror}."
        raise InputError([error(_KEY, message, "Mount shared memory there, or remove the field.")]) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        message = f"{folder} is held by another launcher of this run on this machine."
        raise InputError(
            [error(_KEY, message, "Stop that one, or give this run a log directory of its own.")]
        ) from None
    if any(folder.glob("rank-*")):
        log.info("%s is taken over from a launcher that is dead", folder)
    return lock


def _is_held(folder: Path) -> bool:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _age(folder: Path) -> float:
    """Return the seconds since the last change of one of its files."""
    return time.time() - max(path.stat().st_mtime for path in (folder, *folder.iterdir()))


def check(needed: int, folder: Path, cgroup: Path = _CGROUP) -> None:
    """Raise `InputError` where the copies of this node do not fit into shared memory, or into the container's limit.

    `needed`: bytes of all copies; the processes' own reservations follow, which are exact.
    """
    own = sum(path.stat().st_blocks * 512 for path in folder.glob("*-*")) if folder.exists() else 0
    free = shutil.disk_usage(folder.parent).free + own
    if free < needed:
        message = (
            f"the copies need {decimal_size(needed)} of shared memory, and {folder.parent} has {decimal_size(free)}."
        )
        raise InputError([error(_KEY, message, "Give it more (with Docker --shm-size), or remove the field.")])
    available = _left_of_limit(cgroup)
    if available is not None and available + own < needed:
        message = (
            f"the copies need {decimal_size(needed)}, and the container may take {decimal_size(available + own)} more."
        )
        raise InputError([error(_KEY, message, "Raise the container's memory limit, or remove the field.")])


def _left_of_limit(cgroup: Path) -> int | None:
    """Return the bytes below the memory limit of this process's control group (version 2); None without a limit."""
    try:
        limit, used = ((cgroup / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        lines = (line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        cached = next((int(value) for name, value in lines if name == "inactive_file"), 0)
        return max(0, int(limit) - int(used) + cached) if limit != "max" else None
    except (OSError, ValueError):
        return None
