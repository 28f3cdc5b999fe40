"""The environment that releases are built in: the operator's own packages and the tools, each pinned with hashes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from controlplane.errors import CommandFailed
from controlplane.locations import REPOSITORY, fingerprint

PLACE = REPOSITORY / "build" / "release-venv"
LOCKS = (
    REPOSITORY / "requirements" / "operator.lock",
    REPOSITORY / "requirements" / "release.lock",
    REPOSITORY / "hack" / "imagebuild" / "build.lock",
)
_MARK = PLACE / "installed"


def ensure() -> Path:
    """Return the folder of the environment's programs; it is made where the locks have changed."""
    marks = fingerprint(*(lock.read_bytes() for lock in LOCKS), sys.version)
    programs = PLACE / "bin"
    if not _MARK.exists() or _MARK.read_text() != marks:
        run(sys.executable, "-m", "venv", "--clear", PLACE)
        run(programs / "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", LOCKS[2])
        locks = [argument for lock in LOCKS[:2] for argument in ("-r", lock)]
        uv = programs / "uv"
        run(uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--python", programs / "python", *locks)
        _MARK.write_text(marks)
    return programs


def install_wheel(wheel: Path) -> None:
    """Put this release's own wheel into the environment."""
    uv, python = PLACE / "bin" / "uv", PLACE / "bin" / "python"
    run(uv, "pip", "install", "--quiet", "--no-deps", "--reinstall", "--no-index", "--python", python, wheel)


def run(program: Path | str, *arguments: Path | str, **variables: str) -> str:
    """Run a program of a build, in the repository; raise `CommandFailed` with its last words."""
    import os

    command = [str(program), *map(str, arguments)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = (done.stdout + done.stderr)[-4000:]
        raise CommandFailed(f"{' '.join(command[:3])} … failed:\n{words}")
    return done.stdout
