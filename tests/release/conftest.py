"""A release that is built once, and a registry to push it to: `make test-release`. Not part of `make test`: minutes.

Real: every program (hatchling, PyInstaller, cyclonedx-py, buildah or docker, crane, Helm), the distribution project's
registry on loopback, the API server, containerd. What cannot be had here is a registry with TLS and accounts.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bounds import BOUND
from controlplane import optionalprograms
from controlplane.controlplane import ControlPlane
from controlplane.shell import wait_until
from releasebuild import project

collect_ignore_glob = [] if os.environ.get("NTO_TEST_RELEASE") else ["test_*.py"]

ROOT = Path(__file__).parents[2]
LOOPBACK = "127.0.0.1"
_LISTENS = re.compile(rf"listening on ({LOOPBACK}:\d+)")


@dataclass(frozen=True)
class Release:
    """The files of a release, for one registry."""

    folder: Path
    registry: str
    version: str
    output: str
    """What `hack/release build` printed."""


def hack(*arguments: Path | str, **variables: str) -> str:
    """Call a script of hack/ as the Makefile does."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False, timeout=10 * BOUND
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and port of an empty registry; the port is a free one, which its log names."""
    folder = tmp_path_factory.mktemp("registry")
    configuration = folder / "config.yml"
    configuration.write_text(
        f"version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {folder / 'data'}}}}}\n"
        f"http: {{addr: '{LOOPBACK}:0'}}\n"
    )
    log = folder / "log"
    command = [optionalprograms.program("registry"), "serve", configuration]
    with log.open("w") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=output, env=os.environ | {"OTEL_TRACES_EXPORTER": "none"}
        )
        try:
            wait_until("the registry's port", lambda: bool(_LISTENS.search(log.read_text())), seconds=BOUND)
            yield _LISTENS.findall(log.read_text())[0]
        finally:
            server.terminate()
            server.wait(BOUND)


@pytest.fixture(scope="session")
def release(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Everything but the trainer's image, which is built in the same way and takes many minutes."""
    folder = tmp_path_factory.mktemp("release")
    key = tmp_path_factory.mktemp("key") / "key.pem"
    subprocess.run(
        ["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", key], check=True, timeout=BOUND
    )
    flags = ("--output", folder, "--registry", f"{registry}/team", "--key", key, "--images", "operator")
    output = hack("hack/release", "build", *flags)
    return Release(folder, f"{registry}/team", project.version(), output)


@pytest.fixture(scope="session")
def pushed(release: Release) -> list[str]:
    """What can be pulled after `hack/release push`."""
    flags = ("--output", release.folder, "--registry", release.registry, "--plain-http")
    return re.findall(r"^pushed (.+)$", hack("hack/release", "push", *flags), re.MULTILINE)


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster that has never heard of the operator."""
    with ControlPlane.start(tmp_path_factory.mktemp("plane"), ("etcd", "kube-apiserver")) as started:
        yield started
