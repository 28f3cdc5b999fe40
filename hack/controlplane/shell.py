"""Run a helper program to its end; an error carries what it printed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from controlplane.errors import CommandFailed, StartFailed

POLL_SECONDS = 0.1


def run(*command: str | Path, stdin: str | None = None, timeout: float = 120) -> str:
    """Standard output of a command that must succeed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise CommandFailed(
            f"`{' '.join(words)}` exited {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}"
        )
    return done.stdout


def wait_until(what: str, ready: Callable[[], bool], *, seconds: float, hint: Callable[[], str] = lambda: "") -> None:
    """Poll a condition; on time-out say what was waited for and what `hint` knows."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise StartFailed(f"{what} did not happen within {seconds:.0f} s. {hint()}".rstrip())
        time.sleep(POLL_SECONDS)


def tail(log: Path, lines: int = 8) -> str:
    """The end of a log file, for error messages."""
    if not log.exists():
        return f"{log} does not exist."
    text: Sequence[str] = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join([f"End of {log}:", *text])
