"""A base image made from this machine's own Debian packages, for machines that cannot pull one.

`mmdebstrap` takes the archives from the machine's configuration, so nothing names a mirror, and makes a
150 MB root file system with Python in a quarter of a minute. The user 65532 that pods run as needs no
entry in it.
"""

from __future__ import annotations

import platform
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from controlplane import requirements
from controlplane.errors import MissingRequirement
from controlplane.locations import fingerprint
from controlplane.shell import run
from imagebuild.builder import Builder

PACKAGES = ("python3", "python3-venv", "ca-certificates", "libstdc++6", "libgomp1", "procps", "tzdata")
"""Beside `essential`: what the wheels link, and procps for `kubectl exec … kill` and `ps`."""

_LEFT_OUT = ("man", "doc", "info", "locale")
_SOURCES = ("debian.sources", "ubuntu.sources")
_OLDEST_PYTHON = {"buster": "3.7", "bullseye": "3.9", "focal": "3.8", "jammy": "3.10"}


def ensure(builder: Builder, suite: str = "", packages: Sequence[str] = PACKAGES) -> str:
    """Name of the base image; makes it the first time. `suite`: another release of Debian than this machine's."""
    codename = suite or _codename()
    image = f"localhost/neuron-base:{codename}-{fingerprint(*packages, *_LEFT_OUT, platform.machine())}"
    if not builder.has(image):
        requirements.install({"mmdebstrap": "mmdebstrap"})
        with tempfile.TemporaryDirectory() as scratch:
            context = Path(scratch)
            context.chmod(0o755)
            sources = [_source(suite)] if suite else _apt_sources()
            _make_root(codename, context / "root.tar", packages, sources)
            builder.build(image, "FROM scratch\nADD root.tar /\nENV LANG=C.UTF-8\n", context)
    return image


def _make_root(codename: str, archive: Path, packages: Sequence[str], sources: Sequence[str | Path]) -> None:
    command = ["mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(packages)}"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in _LEFT_OUT]
    # Debian asks that copyright files stay with the programs.
    command += ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
    run(*command, codename, archive, *sources, timeout=900)


def _apt_sources() -> list[Path]:
    directory = Path("/etc/apt/sources.list.d")
    found = [directory / name for name in _SOURCES if (directory / name).exists()]
    return found or [Path("/etc/apt/sources.list")]


def _source(suite: str) -> str:
    """The first archive that this machine takes packages from, for another release."""
    text = "\n".join(path.read_text() for path in _apt_sources())
    address = re.search(r"^(?:URIs: *|deb +)(https?://\S+)", text, re.MULTILINE)
    if address is None:
        raise MissingRequirement("No archive of packages is configured here (/etc/apt/sources.list.d).")
    return f"deb {address[1]} {suite} main"


def _codename() -> str:
    lines = Path("/etc/os-release").read_text().splitlines() if Path("/etc/os-release").exists() else []
    release = dict(line.replace('"', "").split("=", 1) for line in lines if "=" in line)
    codename = release.get("VERSION_CODENAME", "")
    if requirements.program("apt-get") is None or codename in _OLDEST_PYTHON or not codename:
        raise MissingRequirement(
            "A base image is made here from Debian 12, Ubuntu 24.04 or newer; this machine is "
            f"{release.get('PRETTY_NAME', 'something else')}. Name an image with Python 3.11 or later: "
            "--base-image NAME."
        )
    return codename
