"""The programs to compare with and the fake kubelet, built from their pinned Go modules: once per machine and pin.

Each is a module of its own under `peers/`: Kubeflow's operator and kwok want other versions of the same libraries, and
nobody but this benchmark wants either.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

from controlplane.locations import cache_directory, fingerprint

PEERS = Path(__file__).parent / "peers"

PACKAGES = {
    "floor": ("floor", "."),
    "kwok": ("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    "training-operator": ("kubeflow", "github.com/kubeflow/training-operator/cmd/training-operator.v1"),
    "tuned": ("kubeflow", "./tuned"),
}
"""Program to module and package."""

QUICK = ("floor", "kwok")


def programs(*names: str) -> dict[str, Path]:
    """Paths of the programs; those that are missing are built (minutes the first time)."""
    return {name: _built(name) for name in names}


def versions() -> dict[str, str]:
    """As pinned."""
    found = {}
    for module, path in (
        ("kubeflow", "github.com/kubeflow/training-operator"), ("kwok", "sigs.k8s.io/kwok"),
    ):  # fmt: skip
        text = (PEERS / module / "go.mod").read_text()
        found[path.rpartition("/")[2]] = re.search(rf"{re.escape(path)} (v\S+)", text)[1]  # type: ignore[index]
    return found


def source(module: str, package: str, path: str) -> Path:
    """A file of a pinned module, as Go has unpacked it."""
    done = _go(module, "list", "-m", "-f", "{{.Dir}}", package)
    return Path(done.strip()) / path


def _built(name: str) -> Path:
    module, package = PACKAGES[name]
    folder = PEERS / module
    sources = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.suffix in (".go", ".mod", ".sum")]
    target = cache_directory() / "peers" / fingerprint(*sources) / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        began, temporary = time.monotonic(), target.with_suffix(f".{os.getpid()}")
        print(f"building {name} … ", end="", flush=True)
        _go(module, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", str(temporary), package)
        temporary.replace(target)
        print(f"{time.monotonic() - began:.0f} s", flush=True)
    return target


def _go(module: str, *arguments: str) -> str:
    environment = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"}
    environment["PATH"] += os.pathsep + "/usr/local/go/bin"
    done = subprocess.run(
        ["go", *arguments], cwd=PEERS / module, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"go {' '.join(arguments)} in {PEERS / module} failed:\n{done.stderr[-4000:]}")
    return done.stdout
