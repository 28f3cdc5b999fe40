"""Programs of single test targets: built from their Go modules when first needed, each with pins of its own.

    hack/tools/queues/coscheduling   kube-scheduler with the plugin of scheduler-plugins, on the pins of hack/tools
    hack/tools/queues/kueue          Kueue's manager
    hack/tools/promtool              Prometheus' promtool
    hack/tools/release               crane, which pushes images; actionlint; distribution's registry, for tests
    hack/tools/krew                  krew, for tests

They are not part of `hack/tools/go.mod`: they need newer libraries than the cluster has.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from controlplane import toolchain
from controlplane.errors import CommandFailed, MissingRequirement
from controlplane.locations import HACK, cache_directory, fingerprint

MODULES = {
    "coscheduling": HACK / "tools" / "queues" / "coscheduling",
    "kueue": HACK / "tools" / "queues" / "kueue",
    "promtool": HACK / "tools" / "promtool",
    "crane": HACK / "tools" / "release",
    "actionlint": HACK / "tools" / "release",
    "registry": HACK / "tools" / "release",
    "krew": HACK / "tools" / "krew",
}
PACKAGES = {
    "coscheduling": ".",
    "kueue": "sigs.k8s.io/kueue/cmd/kueue",
    "promtool": "github.com/prometheus/prometheus/cmd/promtool",
    "crane": "github.com/google/go-containerregistry/cmd/crane",
    "actionlint": "github.com/rhysd/actionlint/cmd/actionlint",
    "registry": "github.com/distribution/distribution/v3/cmd/registry",
    "krew": "sigs.k8s.io/krew/cmd/krew",
}
TAGS = {"promtool": "remove_all_sd"}
"""Without the service discovery of every cloud promtool is half as large."""


def program(name: str) -> Path:
    """Path of the program; builds it where it is missing, which takes minutes the first time."""
    sources = [path.read_bytes() for path in sorted(MODULES[name].glob("*"))]
    target = cache_directory() / "optional" / fingerprint(*sources) / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        print(
            f"Building {name} from source into {target}: once per machine, minutes on two cores … ", end="", flush=True
        )
        began, temporary = time.monotonic(), target.with_name(f".{name}.{os.getpid()}")
        command = ["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", f"-tags={TAGS.get(name, '')}"]
        _go(name, *command, "-o", str(temporary), PACKAGES[name])
        temporary.replace(target)
        print(f"{time.monotonic() - began:.0f} s", flush=True)
    return target


def source(name: str, module: str) -> Path:
    """Folder of a module's source in Go's cache: its own manifests are used as they are."""
    return Path(_go(name, "list", "-m", "-f", "{{.Dir}}", module).strip())


def _go(name: str, *arguments: str) -> str:
    go = toolchain.go_program()
    if go is None:
        raise MissingRequirement(
            f"Go is not installed, and {name} must be built. Install Go 1.25 or newer (PATH or /usr/local/go)."
        )
    environment = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"}
    done = subprocess.run(
        [go, *arguments], cwd=MODULES[name], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CommandFailed(f"go {arguments[0]} of {name} failed:\n{done.stderr[-4000:]}")
    return done.stdout
