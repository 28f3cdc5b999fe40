"""The pinned programs: found where they are, else built from their Go modules.

`hack/tools/go.mod` pins etcd, the Kubernetes programs, Helm and CoreDNS; nothing is downloaded but Go
modules, so what runs here is what the pinned source says. A build goes to a cache directory named by the
pins and the Go version, program by program and by rename: an interrupted build leaves no half program,
building twice does nothing, two builders wait for each other.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TextIO

from controlplane.errors import CommandFailed, MissingRequirement
from controlplane.locations import HACK, cache_directory, fingerprint

KUBERNETES = "v1.34.4"
MODULE = HACK / "tools"
OLDEST_GO = (1, 24)
OLDEST_KUBECTL = 27
"""Minor version that first refuses unknown fields by default, which the tests of bad input need (1.27)."""

PACKAGES: dict[str, str] = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubelet": "k8s.io/kubernetes/cmd/kubelet",
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
    "coredns": "neurontraining.dev/hack/tools/coredns",
    "pause": "neurontraining.dev/hack/tools/pause",
    "helm": "helm.sh/helm/v3/cmd/helm",
}
"""Program to Go package, in the order in which they are built: what the integration tests need comes first."""

FOR_TESTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "helm")
FOR_CLUSTER = tuple(PACKAGES)
_POLL_SECONDS = 0.5

_MAJOR, _MINOR, _ = KUBERNETES[1:].split(".")
_VERSION_FLAGS = " ".join([
    "-s -w",
    f"-X k8s.io/component-base/version.gitVersion={KUBERNETES}",
    f"-X k8s.io/component-base/version.gitMajor={_MAJOR}",
    f"-X k8s.io/component-base/version.gitMinor={_MINOR}",
    "-X k8s.io/component-base/version.gitTreeState=clean",
    f"-X k8s.io/client-go/pkg/version.gitVersion={KUBERNETES}",
    # Without it `helm template` and `helm lint` take every cluster for Kubernetes 1.20.
    f"-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor={_MAJOR}",
    f"-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor={_MINOR}",
])  # fmt: skip


def find(name: str) -> Path | None:
    """A program that is already there: `KUBEBUILDER_ASSETS`, our cache, and for kubectl alone the PATH."""
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        candidate = Path(assets) / name
        if os.access(candidate, os.X_OK):
            return candidate
    if go_program() is not None:
        candidate = binaries() / name
        if candidate.exists():
            return candidate
    on_path = shutil.which(name) if name == "kubectl" else None
    return Path(on_path) if on_path and _minor_of_kubectl(on_path) >= OLDEST_KUBECTL else None


def programs(*names: str) -> dict[str, Path]:
    """Paths of the named programs; builds those that are missing and says so, with times."""
    missing = [name for name in PACKAGES if name in names and find(name) is None]
    if missing:
        build(missing)
    found = {name: find(name) for name in names}
    return {name: path for name, path in found.items() if path is not None}


def check(*names: str) -> None:
    """Raise `MissingRequirement` where one of these programs is missing and cannot be built here."""
    if missing := [name for name in names if find(name) is None]:
        _require_go(missing)


def build(names: list[str]) -> None:
    """Build programs into the cache, one line each."""
    go, target = _require_go(names), binaries()
    target.mkdir(parents=True, exist_ok=True)
    with _one_builder(target, names):
        todo = [name for name in names if not (target / name).exists()]
        if not todo:
            return
        print(
            f"Building {', '.join(todo)} from source into {target}: once per machine; "
            "all of them take about 8 minutes on two cores, etcd and kube-apiserver alone about 4.",
            flush=True,
        )
        for number, name in enumerate(todo, start=1):
            print(f"  [{number}/{len(todo)}] {name} … ", end="", flush=True)
            began = time.monotonic()
            _build_one(go, name, target)
            print(f"{time.monotonic() - began:.0f} s", flush=True)


def _build_one(go: str, name: str, target: Path) -> None:
    temporary = target / f".{name}.{os.getpid()}"
    command = [go, "build", "-trimpath", "-buildvcs=false", f"-ldflags={_VERSION_FLAGS}"]
    command += ["-o", str(temporary), PACKAGES[name]]
    environment = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"}
    if nice := shutil.which("nice"):
        command = [nice, "-n", "5", *command]
    done = subprocess.run(command, cwd=MODULE, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        temporary.unlink(missing_ok=True)
        raise CommandFailed(f"building {name} failed:\n{done.stderr[-4000:]}")
    temporary.replace(target / name)


def binaries() -> Path:
    """Our cache directory for the present pins and Go version."""
    go = go_program()
    version = _go_version(go) if go else "none"
    sources = [(MODULE / part).read_bytes() for part in ("go.mod", "go.sum", "coredns/main.go", "pause/main.go")]
    return cache_directory() / "tools" / fingerprint(*sources, version) / "bin"


def remove_others() -> list[Path]:
    """Delete programs of other pins; each set is 600 MB. Returns what was removed."""
    keep = binaries().parent
    root = keep.parent
    others = [path for path in root.iterdir() if path != keep] if root.exists() else []
    for path in others:
        shutil.rmtree(path)
    return others


@cache
def _minor_of_kubectl(program: str) -> int:
    """0 where it does not say."""
    done = subprocess.run([program, "version", "--client"], capture_output=True, text=True, check=False)
    found = re.search(r"v1\.(\d+)", done.stdout)
    return int(found[1]) if found else 0


@cache
def go_program() -> str | None:
    """Go from PATH, or where its own installer puts it (which is often not on a service's PATH)."""
    usual = Path("/usr/local/go/bin/go")
    return shutil.which("go") or (str(usual) if usual.exists() else None)


@cache
def _go_version(go: str) -> str:
    done = subprocess.run([go, "env", "GOVERSION"], cwd=MODULE, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _require_go(names: list[str]) -> str:
    wanted = ".".join(map(str, OLDEST_GO))
    remedy = (
        f"Install Go {wanted} or newer (on the PATH or in /usr/local/go), or set KUBEBUILDER_ASSETS to a "
        f"directory that holds {', '.join(names)}."
    )
    go = go_program()
    if go is None:
        raise MissingRequirement(f"Go is not installed, and {', '.join(names)} must be built. {remedy}")
    version = re.match(r"go(\d+)\.(\d+)", _go_version(go))
    if version is None or (int(version[1]), int(version[2])) < OLDEST_GO:
        raise MissingRequirement(f"{go} is {_go_version(go) or 'unusable'}, which is too old. {remedy}")
    return go


@contextmanager
def _one_builder(target: Path, names: list[str]) -> Iterator[None]:
    """Two builds at once must not do the same work twice: the second waits, says for what, then finds it done."""
    with (target.parent / "lock").open("w") as handle:
        missing: list[str] = []
        while not _locks(handle):
            if (now := [name for name in names if not (target / name).exists()]) != missing:
                missing = now
                print(f"Waiting for another process to build {', '.join(missing) or 'the rest'} …", flush=True)
            time.sleep(_POLL_SECONDS)
        yield


def _locks(handle: TextIO) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
