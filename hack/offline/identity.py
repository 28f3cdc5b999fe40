"""Which process is ours: a process id alone may have been given to a stranger since."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, recognised by its start time and the boot in which it started."""

    pid: int
    started: str
    boot: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """The identity of a living process."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        return None if fields[0] == "Z" else cls(pid, fields[19], boot)

    @classmethod
    def load(cls, path: Path) -> ProcessIdentity | None:
        """What `save` wrote, if it was written whole."""
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def save(self, path: Path) -> None:
        """Remember it in a file."""
        path.write_text(json.dumps(asdict(self)))

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return ProcessIdentity.of(self.pid) == self

    def children(self) -> list[ProcessIdentity]:
        """Its direct children."""
        try:
            pids = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except OSError:
            return []
        found = [ProcessIdentity.of(int(pid)) for pid in pids]
        return [each for each in found if each is not None]

    def kill(self) -> None:
        """SIGKILL, only to this very process (checked through a handle that cannot be given to another)."""
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(self.pid)
            try:
                if self.alive():
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)
