"""Processes of pods, seen from the machine: containers hide theirs from each other, not from it."""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a pod's containers."""

    pid: int
    """Out here."""
    name: str
    """`rank-3`, `neuron-train`, …"""
    pod_uid: str
    inner_pid: int
    """In its container."""

    @property
    def rank(self) -> int | None:
        """Global rank, if it is one."""
        head, _, number = self.name.partition("rank-")
        return int(number) if not head and number.isdigit() else None

    @property
    def is_launcher(self) -> bool:
        """Whether it is the program that the trainer's container was started with."""
        return self.inner_pid == 1 and self.name != "pause"

    def send(self, number: int) -> None:
        """A signal; to process 1 of a container also SIGKILL, which nobody inside could send."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.send(signal.SIGKILL)


def of_pods(uids: Iterable[str]) -> list[Process]:
    """All processes in the control groups of these pods."""
    wanted = {f"pod{uid}": uid for uid in uids}
    return [found for pid in _pids() if (found := _read(pid, wanted)) is not None]


def named(prefix: str) -> list[int]:
    """Processes of any pod whose name begins so."""
    found = []
    for pid in _pids():
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().startswith(prefix) and "/nto-" in _groups(pid):
                found.append(pid)
    return found


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _groups(pid: int) -> str:
    return Path(f"/proc/{pid}/cgroup").read_text()


def _read(pid: int, wanted: dict[str, str]) -> Process | None:
    try:
        parts = set(_groups(pid).replace("\n", "/").split("/"))
        if not (match := parts & wanted.keys()):
            return None
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
        )
        if status["State"].startswith(("Z", "X")):
            return None
        return Process(pid, status["Name"], wanted[match.pop()], int(status["NSpid"].split()[-1]))
    except (OSError, KeyError):
        return None
