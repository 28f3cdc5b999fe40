"""Which run owns a directory: a lease that its holder renews, and that a dead holder loses.

The directory has one file, `.lock.<generation>`, with its holder and a counter. The rules, for file systems of one
machine and for NFS and FSx, where `flock` is not to be relied upon and clocks of hosts differ:

* The next generation is created by one alone, with all of its content (a hard link; O_EXCL where there is none).
* A holder increments its counter. One that waits watches whether the file changes, by its own clock: a file that did
  not change for `LEASE_SECONDS` has a dead holder. Times of two hosts are never compared.
* A holder that is known to be gone is not waited for: it has released the directory, its process on this machine has
  ended, or it was a pod of the same job (the operator creates a new one when the old one has ended, or its node is
  fenced).
* A holder that could not renew for `VALID_SECONDS` (it was suspended, the server was away) does not hold the directory
  until it has created the next generation itself; when another one has, it has lost the directory, and stops.
"""

import errno
import os
import re
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from neuron_trainer.errors import DirectoryHeldError, DirectoryLostError

RENEW_SECONDS: Final = 2.0
VALID_SECONDS: Final = 15.0
LEASE_SECONDS: Final = 30.0
"""Twice as long as a holder trusts its own renewal, so that none trusts what another has taken."""
STOPPING_SECONDS: Final = 900.0
"""For which a holder that is stopping (it saves, after SIGTERM) is waited for."""

_NAME: Final = re.compile(r"\.lock\.(\d{1,15})")
_SIZE: Final = 2048
"""Bytes of a file: it is renewed in place and must not change its size, for a full disk has no room."""


class HolderState(StrEnum):
    """The state that a holder writes of itself."""

    HELD = "held"
    STOPPING = "stopping"
    RELEASED = "released"


class Holder(BaseModel):
    """The holder of a directory, the content of the file."""

    model_config = ConfigDict(frozen=True)

    token: str
    """Drawn by each start."""
    host: str
    pid: int
    machine: str = ""
    """The boot of the kernel and the namespace of process ids, in which `pid` means something."""
    process_start: str = ""
    """When the process started, in ticks since the boot: a process id is used again."""
    job_uid: str = ""
    job_name: str = ""
    attempt: int = 0
    since: str
    """UTC, by the holder's clock; for people."""
    state: HolderState = HolderState.HELD
    renewals: int = 0

    def __str__(self) -> str:
        who = f"process {self.pid} on {self.host}"
        job = f" of the job {self.job_name or self.job_uid}, attempt {self.attempt}" if self.job_uid else ""
        return f"{who}{job}, since {self.since}"


def myself(job_uid: str = "", job_name: str = "", attempt: int = 0) -> Holder:
    """Return this process as a holder."""
    pid, machine = os.getpid(), _machine()
    return Holder(
        token=secrets.token_hex(16),
        host=socket.gethostname(),
        pid=pid,
        machine=machine,
        process_start=_process_start(pid),
        job_uid=job_uid,
        job_name=job_name,
        attempt=attempt,
        since=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    )


def boot_time() -> float:
    """Return the seconds since the boot, including those in which the machine slept; the same in all processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of the file."""

    number: int
    content: bytes

    @property
    def holder(self) -> Holder | None:
        """The holder; None where it cannot be read (the file is being created without a hard link)."""
        try:
            return Holder.model_validate_json(self.content)
        except ValidationError:
            return None


@dataclass
class DirectoryLease:
    """The lease of one directory, for one holder: `acquire` it, `renew` it every `RENEW_SECONDS`, `release` it."""

    folder: Path
    holder: Holder
    clock: Callable[[], float] = boot_time
    sleep: Callable[[float], None] = time.sleep
    can_link: bool = True
    generation: int = field(default=0, init=False)
    renewed: float = field(default=0.0, init=False)
    """The time, by `clock`, at which the newest renewal began."""

    @property
    def valid_until(self) -> float:
        """The time, by `clock`, until which nobody else can have taken the directory."""
        return self.renewed + VALID_SECONDS

    @property
    def path(self) -> Path:
        """The file of this generation."""
        return _path(self.folder, self.generation)

    def acquire(self, patience: float = 0.0, waiting: Callable[[Holder], None] = lambda _: None) -> None:
        """Take the directory, from the newest holder when that is gone; raises `DirectoryHeldError` when it lives.

        `patience`: seconds for which a living holder is waited for. `waiting` is called with it once.
        """
        watch = _Watch(self.clock())
        while True:
            now, current = self.clock(), newest(self.folder)
            watch.observe(current, now)
            if current is None or watch.is_dead(now) or self._is_gone(current.holder):
                if self._create((current.number if current else 0) + 1, now):
                    return
                continue  # another one was faster
            if (holder := current.holder) is not None:
                self._give_up(holder, watch, now, patience)
                watch.announce(holder, waiting)
            self.sleep(RENEW_SECONDS / 4)

    def renew(self) -> None:
        """Renew the lease.

        Raises `DirectoryLostError` when another run has the directory, `OSError` when it cannot be reached.
        """
        now = self.clock()
        if now < self.valid_until:
            self._write(self.holder.model_copy(update={"renewals": self.holder.renewals + 1}))
            self.renewed = now
            return
        current = newest(self.folder)
        if current is None or current.number != self.generation or not self._create(self.generation + 1, now):
            raise self._lost(current)

    def announce_stop(self) -> None:
        """Announce with the next renewal that the directory will be free soon."""
        self.holder = self.holder.model_copy(update={"state": HolderState.STOPPING})

    def release(self) -> None:
        """Release the directory, so that the next holder need not wait, unless it is lost or cannot be reached."""
        with suppress(OSError, DirectoryLostError):
            self._write(self.holder.model_copy(update={"state": HolderState.RELEASED}))

    def _give_up(self, holder: Holder, watch: "_Watch", now: float, patience: float) -> None:
        if self._is_newer_attempt(holder) or self._is_neighbour(holder) or watch.has_changed:
            limit = STOPPING_SECONDS if holder.state is HolderState.STOPPING else patience
            if now - watch.started >= limit:
                raise DirectoryHeldError(self.folder, str(holder), str(_path(self.folder, watch.generation)))

    def _is_gone(self, holder: Holder | None) -> bool:
        """Return whether the holder is known to be gone, without waiting."""
        if holder is None:
            return False
        if holder.state is HolderState.RELEASED:
            return True
        if self._is_neighbour(holder):
            return _process_start(holder.pid) != holder.process_start
        return bool(holder.job_uid) and holder.job_uid == self.holder.job_uid and holder.attempt <= self.holder.attempt

    def _is_neighbour(self, holder: Holder) -> bool:
        """Return whether its process is visible from here."""
        return bool(holder.machine) and holder.machine == self.holder.machine

    def _is_newer_attempt(self, holder: Holder) -> bool:
        same = bool(holder.job_uid) and holder.job_uid == self.holder.job_uid
        return same and holder.attempt > self.holder.attempt

    def _create(self, generation: int, now: float) -> bool:
        holder = self.holder.model_copy(update={"renewals": 0})
        if not _create_whole(_path(self.folder, generation), _content(holder), can_link=self.can_link):
            return False
        others = generations(self.folder)
        if max(others) > generation:  # this one slept, and what it has read is long out of date
            _path(self.folder, generation).unlink(missing_ok=True)
            return False
        self.generation, self.renewed, self.holder = generation, now, holder
        for number in others:
            if number < generation:
                _path(self.folder, number).unlink(missing_ok=True)
        return True

    def _write(self, holder: Holder) -> None:
        """Write in place, into a file that still is this holder's: a newer generation is never touched."""
        if max(generations(self.folder), default=0) > self.generation:
            raise self._lost(newest(self.folder))
        try:
            with self.path.open("rb+", buffering=0) as file:
                current = Generation(self.generation, file.read(_SIZE)).holder
                if current is None or current.token != holder.token:
                    raise self._lost(newest(self.folder))
                file.seek(0)
                file.write(_content(holder))
                os.fsync(file.fileno())
        except OSError as problem:
            if problem.errno in (errno.ENOENT, errno.ESTALE):
                raise self._lost(newest(self.folder)) from None
            raise
        self.holder = holder

    def _lost(self, current: Generation | None) -> DirectoryLostError:
        by = current.holder if current is not None else None
        cause = f"{by} has taken it" if by is not None and by.token != self.holder.token else "its lock was removed"
        return DirectoryLostError(f"{self.folder} is no longer this run's: {cause}. Nothing more is written there.")


@dataclass
class _Watch:
    """What one that waits has observed."""

    started: float
    generation: int = 0
    has_changed: bool = False
    """Whether a holder has renewed or taken it meanwhile: then it lives."""
    _content: bytes | None = None
    _since: float = 0.0
    _is_announced: bool = False

    def observe(self, current: Generation | None, now: float) -> None:
        content = None if current is None else current.content
        if current is None or (content == self._content and current.number == self.generation):
            return
        self.has_changed = self._content is not None
        self._content, self._since, self.generation = content, now, current.number

    def is_dead(self, now: float) -> bool:
        return self._content is not None and now - self._since >= LEASE_SECONDS

    def announce(self, holder: Holder, waiting: Callable[[Holder], None]) -> None:
        if not self._is_announced:
            self._is_announced = True
            waiting(holder)


def newest(folder: Path) -> Generation | None:
    """Return the newest generation that exists; raises `OSError`."""
    for generation in sorted(generations(folder), reverse=True):
        with suppress(FileNotFoundError):
            return Generation(generation, _path(folder, generation).read_bytes())
    return None


def generations(folder: Path) -> list[int]:
    """Return the numbers of the files that exist."""
    return [int(match[1]) for name in os.listdir(folder) if (match := _NAME.fullmatch(name))]  # noqa: PTH208


def _path(folder: Path, generation: int) -> Path:
    return folder / f".lock.{generation}"


def _content(holder: Holder) -> bytes:
    return holder.model_dump_json().encode().ljust(_SIZE - 1) + b"\n"


def _create_whole(path: Path, content: bytes, *, can_link: bool) -> bool:
    """Return True for one alone of all that try; a reader never sees half of the content, given hard links."""
    draft = path.with_name(f".lock-draft.{secrets.token_hex(8)}")
    try:
        _write_new(draft, content)
        if not can_link:
            raise OSError(errno.ENOTSUP, "no hard links")
        os.link(draft, path)
    except FileExistsError:
        return draft.stat().st_nlink == 2  # NFS repeats a request whose answer was lost: it was ours
    except OSError as problem:
        if problem.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        return _create_exclusively(path, content)
    finally:
        draft.unlink(missing_ok=True)
    return True


def _create_exclusively(path: Path, content: bytes) -> bool:
    try:
        _write_new(path, content)
    except FileExistsError:
        return False
    return True


def _write_new(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _machine() -> str:
    """Return the boot and the namespace of process ids; empty where the system has none: then no process is a
    neighbour."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _process_start(pid: int) -> str:
    """Return when a process started, in ticks since the boot; empty for one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
