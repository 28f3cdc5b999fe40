"""The project as a release sees it: its one version (in pyproject.toml), its folders, the time of its newest commit."""

from __future__ import annotations

import os
import platform
import subprocess
import tomllib
from pathlib import Path

from controlplane.locations import REPOSITORY

NAME = "neuron-training-operator"
CHART = REPOSITORY / "helm" / NAME
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def version() -> str:
    """Return the version that every part of a release has."""
    return str(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"])


def output(folder: Path | None = None) -> Path:
    """Return the folder of this version's files, which is made where it is missing."""
    place = folder or REPOSITORY / "dist" / version()
    place.mkdir(parents=True, exist_ok=True)
    return place.absolute()


_PARTS = ("*.whl", "*.tar.gz", "*.tgz", "*.oci.tar", "*.cdx.json", "SHA256SUMS*", "release[.-]*", "neuron*.yaml")


def clear(folder: Path) -> None:
    """Remove what an earlier build of a release has put there: files of two commits are no release."""
    for path in {path for pattern in _PARTS for path in folder.glob(pattern)}:
        path.unlink()


def system() -> tuple[str, str]:
    """Return operating system and architecture of this machine, by Go's names: linux, amd64."""
    machine = platform.machine().lower()
    return platform.system().lower(), _MACHINES.get(machine, machine)


def commit_time() -> int:
    """Return the time that goes into archives: that of the newest commit, so that two builds of it are the same."""
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(epoch)
    command = ["git", "log", "-1", "--format=%ct"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else 0
