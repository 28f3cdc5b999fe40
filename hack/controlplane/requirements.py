"""What the machine must have; on Debian and its relatives missing packages are installed, elsewhere named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from controlplane.errors import CommandFailed, MissingRequirement

FOR_CLUSTER = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "ip": "iproute2",
    "nft": "nftables",
    "openssl": "openssl",
    "mount": "mount",
    "unshare": "util-linux",
    "hostname": "hostname",
}
"""Program (or file) to Debian package."""

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def require_root_on_linux() -> None:
    """A kubelet needs both; say what works without them."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise MissingRequirement(
            "The local cluster runs a real kubelet and containerd, which needs root on Linux. "
            "Without it: `make test` still runs the integration tests on a real API server, and CLUSTER=current "
            "(for `make demo`, `make images`) uses the cluster that kubectl points at."
        )


def program(name: str) -> Path | None:
    """A program on the PATH or in the system's directories, which a plain user's PATH often lacks."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}")
    return Path(found) if found else None


def install(packages: dict[str, str]) -> None:
    """Install the packages of programs that are missing, with apt where that is possible."""
    missing = sorted({package for name, package in packages.items() if not _is_there(name)})
    if not missing:
        return
    apt = program("apt-get")
    if apt is None or os.geteuid() != 0:
        raise MissingRequirement(
            f"Missing on this machine (as Debian names them): {', '.join(missing)}. Install them first."
        )
    print(f"Installing {', '.join(missing)} with apt-get …", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", *missing]):
        done = subprocess.run([apt, *command], env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CommandFailed(f"apt-get {command[0]} failed: {(done.stderr or done.stdout).strip()[-2000:]}")


def _is_there(name: str) -> bool:
    if name == "/usr/lib/cni/ptp":
        return any(
            (Path(directory) / "ptp").exists() for directory in ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
        )
    return program(name) is not None
