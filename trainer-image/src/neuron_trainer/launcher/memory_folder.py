"""The folder in shared memory that the copies of this node's processes lie in: made, taken over and removed here.

It is the launcher's, so copies outlive the processes. A launcher that is killed leaves it, and one that ends early with
steps that no checkpoint has. The next start of the same run takes it over (which of its copies count, the processes
decide), and the start of another run removes it once it is old. Its name says the run and the node.
A lock that the kernel gives up with its holder says whether a launcher lives.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import stat
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

log = logging.getLogger(__name__)

SHARED_MEMORY: Final = Path("/dev/shm")
_PREFIX: Final = "neuron-train-memory-"
_LOCK: Final = "owner"
_KEY: Final = memory_copies.KEY
ORPHAN_SECONDS: Final = 600.0
"""For so long after its last step the folder of a dead launcher waits for another start of its run."""
_PATIENCE: Final = 2.0
"""Seconds for a lock that a sweep holds while it looks."""
_PAUSE: Final = 0.02


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
        digest = hashlib.sha256(f"{job_uid}\n{log_dir.absolute()}".encode()).hexdigest()[:16]
        self._place, self._run = place, f"{_PREFIX}{digest}-"
        self.path = place / f"{self._run}{node_rank}"
        self._lock, self._stored = -1, stored
        self.is_over = False
        """Whether the run has ended, so that nothing will go on from here."""

    def __enter__(self) -> "MemoryFolder":
        self.sweep()
        self._lock = _lock(self.path)
        return self

    def sweep(self, *, has_copies: bool = True) -> None:
        """Remove what dead launchers have left: of other runs, and of this one where it makes no copies any more.

        Those of this run belong to nodes that share the machine.
        """
        remove_orphans(self._place, of_run=self._run if has_copies else "")

    def remove(self) -> None:
        """Remove what a dead launcher of this run has left on this node: the run has ended."""
        with suppress(OSError):
            _remove_dead(self.path)

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


def remove_orphans(place: Path, seconds: float = ORPHAN_SECONDS, *, of_run: str = "") -> list[Path]:
    """Remove what dead launchers of other runs have left, and return it."""
    removed = []
    for folder in sorted(place.glob(f"{_PREFIX}*")):
        with suppress(OSError):  # it is another user's, or gone
            if not (of_run and folder.name.startswith(of_run)) and _age(folder) >= seconds and _remove_dead(folder):
                removed.append(folder)
    if removed:
        log.info("removed what dead launchers have left in shared memory: %s", ", ".join(map(str, removed)))
    return removed


def _lock(folder: Path) -> int:
    """Make the folder, or take it over; raises `InputError` where another launcher has it."""
    deadline = time.monotonic() + _PATIENCE
    while (lock := _try_lock(folder)) is None:  # a sweep looks, or has just removed it
        if time.monotonic() > deadline:
            message = f"{folder} is held by another launcher of this run on this machine."
            raise InputError([error(_KEY, message, "Stop that one, or give this run a log directory of its own.")])
        time.sleep(_PAUSE)
    if any(folder.glob("rank-*")):
        log.info("%s is taken over from a launcher that is dead", folder)
    return lock


def _try_lock(folder: Path) -> int | None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            message = f"{folder} is not a directory of this user (user id {os.geteuid()})."
            raise InputError([error(_KEY, message, "Remove it, or remove the field.")])
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        if not folder.parent.exists():
            raise _not_made(folder, "No such file or directory") from None
        return None
    except OSError as problem:
        raise _not_made(folder, problem.strerror) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    if not os.fstat(lock).st_nlink:
        os.close(lock)
        return None
    return lock


def _not_made(folder: Path, reason: str | None) -> InputError:
    message = f"{folder} cannot be made: {reason}."
    return InputError([error(_KEY, message, "Mount shared memory there, or remove the field.")])


def _remove_dead(folder: Path) -> bool:
    """Remove a folder, with its lock in hand; return False where a launcher has it."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        shutil.rmtree(folder)
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _age(folder: Path) -> float:
    """Return the seconds since the last change of one of its files."""
    return time.time() - max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
