"""Who owns a directory of a run: a lease that its holder renews, and that a dead holder loses.

The directory has one file, `.lock.<generation>`, with its holder and a counter. The rules, for file systems of one
machine and for NFS and FSx, where `flock` is not to be relied upon and clocks of hosts differ:

* The next generation is created by one alone, with all of its content (a hard link; O_EXCL where there is none).
* A holder counts on. Who waits sees whether the file changes, by its own clock: a file that did not change for
  `LEASE_SECONDS` has a dead holder. Times of two hosts are never compared.
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

from neuron_trainer.errors import LeaseHeldError, LeaseLostError

RENEW_SECONDS: Final = 2.0
VALID_SECONDS: Final = 15.0
LEASE_SECONDS: Final = 30.0
"""Twice as long as a holder trusts its own renewal, so that none trusts what another has taken."""
STOPPING_SECONDS: Final = 900.0
"""That a holder which is stopping (it saves, after SIGTERM) is waited for."""

_NAME: Final = re.compile(r"\.lock\.(\d{1,15})")
_SIZE: Final = 2048
"""Bytes of a file: renewed in place, it must not change its size, for a full disk has no other."""


class State(StrEnum):
    """What a holder says of itself."""

    HELD = "held"
    STOPPING = "stopping"
    RELEASED = "released"


class Holder(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(frozen=True)

    token: str
    """Drawn by each start."""
    host: str
    pid: int
    machine: str = ""
    """Boot of the kernel and namespace of process ids: where `pid` means something."""
    process_start: str = ""
    """Of the process, in ticks since the boot: a number is used again."""
    job_uid: str = ""
    job_name: str = ""
    attempt: int = 0
    since: str
    """UTC, by the holder's clock; for people."""
    state: State = State.HELD
    renewals: int = 0

    def __str__(self) -> str:
        who = f"process {self.pid} on {self.host}"
        job = f" of the job {self.job_name or self.job_uid}, attempt {self.attempt}" if self.job_uid else ""
        return f"{who}{job}, since {self.since}"


def myself(job_uid: str = "", job_name: str = "", attempt: int = 0) -> Holder:
    """This process."""
    pid, machine = os.getpid(), _machine()
    return Holder(
        token=secrets.token_hex(16), host=socket.gethostname(), pid=pid, machine=machine,
        process_start=_process_start(pid), job_uid=job_uid, job_name=job_name, attempt=attempt,
        since=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    )  # fmt: skip


def boot_time() -> float:
    """Seconds since the boot, those in which the machine slept included; the same in all processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass(frozen=True, slots=True)
class Found:
    """The newest generation."""

    generation: int
    content: bytes

    @property
    def holder(self) -> Holder | None:
        """None: it cannot be read (it is being created without a hard link)."""
        try:
            return Holder.model_validate_json(self.content)
        except ValidationError:
            return None


@dataclass
class Lease:
    """Of one directory, for one holder. `acquire` first; `renew` every `RENEW_SECONDS`; `release` at the end."""

    folder: Path
    holder: Holder
    clock: Callable[[], float] = boot_time
    sleep: Callable[[float], None] = time.sleep
    can_link: bool = True
    generation: int = field(default=0, init=False)
    renewed: float = field(default=0.0, init=False)
    """When the newest renewal began, by `clock`."""

    @property
    def valid_until(self) -> float:
        """By `clock`: until then nobody else can have taken the directory."""
        return self.renewed + VALID_SECONDS

    @property
    def path(self) -> Path:
        """The file of this generation."""
        return _path(self.folder, self.generation)

    def acquire(self, patience: float = 0.0, waiting: Callable[[Holder], None] = lambda _: None) -> None:
        """Take the directory, from the newest holder when that is gone; raises `LeaseHeldError` when it lives.

        `patience`: seconds that a living holder is waited for. `waiting` is told of it once.
        """
        watch = _Watch(self.clock())
        while True:
            now, found = self.clock(), newest(self.folder)
            watch.look(found, now)
            if found is None or watch.is_dead(now) or self._is_gone(found.holder):
                if self._create((found.generation if found else 0) + 1, now):
                    return
                continue  # another one was faster
            if (holder := found.holder) is not None:
                self._give_up(holder, watch, now, patience)
                watch.announce(holder, waiting)
            self.sleep(RENEW_SECONDS / 4)

    def renew(self) -> None:
        """Count on; raises `LeaseLostError` when another one has the directory, `OSError` when it cannot be reached."""
        now = self.clock()
        if now < self.valid_until:
            self._write(self.holder.model_copy(update={"renewals": self.holder.renewals + 1}))
            self.renewed = now
            return
        found = newest(self.folder)
        if found is None or found.generation != self.generation or not self._create(self.generation + 1, now):
            raise self._lost(found)

    def stopping(self) -> None:
        """Say that the directory will be free soon."""
        self.holder = self.holder.model_copy(update={"state": State.STOPPING})

    def release(self) -> None:
        """The next one need not wait. What was lost, or cannot be reached, is left."""
        with suppress(OSError, LeaseLostError):
            self._write(self.holder.model_copy(update={"state": State.RELEASED}))

    def _give_up(self, holder: Holder, watch: "_Watch", now: float, patience: float) -> None:
        if self._is_newer_attempt(holder) or self._is_neighbour(holder) or watch.has_changed:
            limit = STOPPING_SECONDS if holder.state is State.STOPPING else patience
            if now - watch.begun >= limit:
                raise LeaseHeldError(self.folder, str(holder), str(_path(self.folder, watch.generation)))

    def _is_gone(self, holder: Holder | None) -> bool:
        """Known without waiting."""
        if holder is None:
            return False
        if holder.state is State.RELEASED:
            return True
        if self._is_neighbour(holder):
            return _process_start(holder.pid) != holder.process_start
        return bool(holder.job_uid) and holder.job_uid == self.holder.job_uid and holder.attempt <= self.holder.attempt

    def _is_neighbour(self, holder: Holder) -> bool:
        """Whether its process can be seen from here."""
        return bool(holder.machine) and holder.machine == self.holder.machine

    def _is_newer_attempt(self, holder: Holder) -> bool:
        same = bool(holder.job_uid) and holder.job_uid == self.holder.job_uid
        return same and holder.attempt > self.holder.attempt

    def _create(self, generation: int, now: float) -> bool:
        holder = self.holder.model_copy(update={"renewals": 0})
        if not _create_whole(_path(self.folder, generation), _content(holder), can_link=self.can_link):
            return False
        others = generations(self.folder)
        if max(others) > generation:  # this one slept, and what it saw is long gone
            _path(self.folder, generation).unlink(missing_ok=True)
            return False
        self.generation, self.renewed, self.holder = generation, now, holder
        for number in others:
            if number < generation:
                _path(self.folder, number).unlink(missing_ok=True)
        return True

    def _write(self, holder: Holder) -> None:
        """In place, in a file that still is this holder's: what has replaced it is never touched."""
        if max(generations(self.folder), default=0) > self.generation:
            raise self._lost(newest(self.folder))
        try:
            with self.path.open("rb+", buffering=0) as file:
                if (found := Found(self.generation, file.read(_SIZE)).holder) is None or found.token != holder.token:
                    raise self._lost(newest(self.folder))
                file.seek(0)
                file.write(_content(holder))
                os.fsync(file.fileno())
        except OSError as problem:
            if problem.errno in (errno.ENOENT, errno.ESTALE):
                raise self._lost(newest(self.folder)) from None
            raise
        self.holder = holder

    def _lost(self, found: Found | None) -> LeaseLostError:
        by = found.holder if found is not None else None
        who = f"{by} has taken it" if by is not None and by.token != self.holder.token else "its lock was removed"
        return LeaseLostError(f"{self.folder} is no longer this run's: {who}. Nothing more is written there.")


@dataclass
class _Watch:
    """What one who waits has seen."""

    begun: float
    generation: int = 0
    has_changed: bool = False
    """Somebody renewed, or took it, meanwhile: somebody lives."""
    _content: bytes | None = None
    _since: float = 0.0
    _is_announced: bool = False

    def look(self, found: Found | None, now: float) -> None:
        content = None if found is None else found.content
        if found is None or (content == self._content and found.generation == self.generation):
            return
        self.has_changed = self._content is not None
        self._content, self._since, self.generation = content, now, found.generation

    def is_dead(self, now: float) -> bool:
        return self._content is not None and now - self._since >= LEASE_SECONDS

    def announce(self, holder: Holder, waiting: Callable[[Holder], None]) -> None:
        if not self._is_announced:
            self._is_announced = True
            waiting(holder)


def newest(folder: Path) -> Found | None:
    """The newest generation that is there; raises `OSError`."""
    for generation in sorted(generations(folder), reverse=True):
        with suppress(FileNotFoundError):
            return Found(generation, _path(folder, generation).read_bytes())
    return None


def generations(folder: Path) -> list[int]:
    """Numbers of the files that are there."""
    return [int(match[1]) for name in os.listdir(folder) if (match := _NAME.fullmatch(name))]  # noqa: PTH208


def _path(folder: Path, generation: int) -> Path:
    return folder / f".lock.{generation}"


def _content(holder: Holder) -> bytes:
    return holder.model_dump_json().encode().ljust(_SIZE - 1) + b"\n"


def _create_whole(path: Path, content: bytes, *, can_link: bool) -> bool:
    """True for one alone of all that try; a reader sees the whole content, where the file system has hard links."""
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
    """Empty where the system does not say it: then a holder on this machine is waited for as any other."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _process_start(pid: int) -> str:
    """Empty for a process that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
