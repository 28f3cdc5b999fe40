"""Trials of the devices: child processes that use them as a worker does, each within a time.

A runtime that hangs, or ends its process, ends a trial and nothing else.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from .machine import end_session

NAMES: Final = ("collective", "compile", "step", "operators")
"""In the order in which they are made: each uses what the ones before it have shown."""
_PAUSE: Final = 0.05
_LINES: Final = 5


@dataclass(frozen=True, slots=True)
class Trial:
    """How one ended."""

    seconds: float
    is_late: bool = False
    """It did not end in time, and was killed."""
    problem: str = ""
    """Last lines of the first process that failed; empty if all ended well."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """What the first process found."""


def run(name: str, accelerator: str, processes: int, seconds: float, variables: Mapping[str, str]) -> Trial:
    """Make a trial with so many processes, which get these variables beside their own."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="neuron-doctor-") as folder:
        outputs = [Path(folder, str(rank)) for rank in range(processes)]
        port = _free_port()
        with _Files(outputs) as files:
            children = [
                subprocess.Popen(
                    [sys.executable, "-m", "neuron_trainer.doctor.trial", name, accelerator],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env={**os.environ, **variables, **_of_rank(rank, processes, port)},
                )
                for rank, file in enumerate(files)
            ]
        try:
            is_late = not _wait(children, started + seconds)
            codes = [child.returncode for child in children]
        finally:
            for child in children:
                end_session(child)
        texts = [output.read_text(errors="replace") for output in outputs]
    return _judge(codes, texts, time.monotonic() - started, is_late=is_late)


class _Files:
    """Open files of outputs, closed together."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [path.open("wb") for path in paths]

    def __enter__(self) -> list[IO[bytes]]:
        return [*self._files]

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()


def _of_rank(rank: int, processes: int, port: int) -> dict[str, str]:
    world = {name: str(processes) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
    ranks = {name: str(rank) for name in ("RANK", "LOCAL_RANK")}
    return {**world, **ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONUNBUFFERED": "1"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(children: Sequence[subprocess.Popen[bytes]], deadline: float) -> bool:
    """Wait until all have ended well, or one has failed; return False if the time is over first."""
    while time.monotonic() < deadline:
        codes = [child.poll() for child in children]
        if all(code is not None for code in codes) or any(codes):
            return True
        time.sleep(_PAUSE)
    return False


def _judge(codes: Sequence[int | None], texts: Sequence[str], seconds: float, *, is_late: bool) -> Trial:
    """`codes`: exit codes before any process was ended from here; None for one that had not ended."""
    if is_late:
        return Trial(seconds, is_late=True, problem=_end(texts[0]))
    failed = [rank for rank, code in enumerate(codes) if code]
    if failed:
        code = codes[failed[0]]
        killed = "killed by the system, perhaps for its memory" if code == -signal.SIGKILL else f"exit code {code}"
        return Trial(seconds, problem=_end(texts[failed[0]]) or killed)
    try:
        return Trial(seconds, values=json.loads(texts[0].strip().splitlines()[-1]))
    except (ValueError, IndexError):
        return Trial(seconds, problem=_end(texts[0]) or "no result")


def _end(text: str) -> str:
    """Return the last lines as one."""
    return " / ".join(line.strip() for line in text.strip().splitlines()[-_LINES:] if line.strip())[-600:]
