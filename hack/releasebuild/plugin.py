"""`kubectl-neuron` for people who have no Python: PyInstaller's folder with interpreter and packages, as an archive,
and the manifest by which krew installs it."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from controlplane.errors import ClusterError
from controlplane.locations import REPOSITORY
from releasebuild import environment
from releasebuild.project import NAME, commit_time, system

PROGRAM, COMPLETION = "kubectl-neuron", "kubectl_complete-neuron"
_COMPLETE = "__complete"
_ENTRY = f"""\
import sys

from neuron_operator.cli import __main__, completion

sys.exit(completion.main(sys.argv[2:]) if sys.argv[1:2] == ["{_COMPLETE}"] else __main__.main())
"""
_SCRIPT = f"""\
#!/bin/sh
exec "$(dirname "$(readlink -f "$0")")/{PROGRAM}" {_COMPLETE} "$@"
"""
"""What kubectl calls for completion. No link: krew unpacks none."""
_PACKAGES = ("neuron_api", "neuron_operator", "neuron_dashboard")
_ARCHIVE = re.compile(rf"{PROGRAM}_(?P<version>.+)_(?P<os>[a-z]+)-(?P<arch>[a-z0-9]+)\.tar\.gz")
_HOMEPAGE = "https://neurontraining.dev"


def build(folder: Path, wheel: Path, version: str) -> Path:
    """Build the archive of this machine's system and architecture."""
    environment.install_wheel(wheel)
    path = folder / f"{PROGRAM}_{version}_{'-'.join(system())}.tar.gz"
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        (place / "entry.py").write_text(_ENTRY)
        command = ["--noconfirm", "--onedir", "--log-level=WARN", f"--name={PROGRAM}", f"--copy-metadata={NAME}"]
        command += [f"--{what}={place / what}" for what in ("distpath", "workpath", "specpath")]
        for package in _PACKAGES:
            command += [f"--collect-data={package}", f"--collect-submodules={package}"]
        programs = environment.ensure()
        environment.run(programs / "pyinstaller", *command, place / "entry.py", PYTHONHASHSEED="1")
        program = place / "distpath" / PROGRAM
        (program / COMPLETION).write_text(_SCRIPT)
        (program / COMPLETION).chmod(0o755)
        (program / "LICENSE").write_bytes((REPOSITORY / "LICENSE").read_bytes())
        _pack(program, path)
    return path


def _pack(program: Path, path: Path) -> None:
    """Write an archive that is the same for the same files: order, times and owners are fixed."""
    moment = commit_time()

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime, member.uid, member.gid, member.uname, member.gname = moment, 0, 0, "", ""
        return member

    with (
        path.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", mtime=moment, filename="") as packed,
        tarfile.open(fileobj=packed, mode="w", dereference=True) as archive,
    ):
        for member in [program, *sorted(program.rglob("*"))]:
            archive.add(member, member.relative_to(program.parent), recursive=False, filter=plain)


def manifest(folder: Path, version: str, address: str) -> Path:
    """Write krew's manifest of all archives of this version in the folder; `address` is where they will lie."""
    archives = sorted(path for path in folder.iterdir() if _is_of(path, version))
    if not archives:
        raise ClusterError(f"{folder} has no {PROGRAM}_{version}_*.tar.gz: build the plugin first.")
    body = {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": "neuron"},
        "spec": {
            "version": f"v{version}",
            "homepage": _HOMEPAGE,
            "shortDescription": "NeuronTrainingJobs: plan, submit, status, why, dashboard",
            "description": "Plans, submits and explains jobs of neuron-training-operator: NeuronX Distributed Training "
            "configurations on Kubernetes. plan and convert need no cluster.",
            "caveats": "The operator is installed by its Helm chart. For completion put kubectl_complete-neuron of the "
            "archive on the PATH.",
            "platforms": list(_platforms(archives, address)),
        },
    }
    path = folder / "neuron.yaml"
    path.write_text(json.dumps(body, indent=2) + "\n")  # JSON is YAML
    return path


def _platforms(archives: Iterable[Path], address: str) -> Iterable[dict[str, Any]]:
    for archive in archives:
        match = _ARCHIVE.fullmatch(archive.name)
        assert match is not None
        yield {
            "selector": {"matchLabels": {"os": match["os"], "arch": match["arch"]}},
            "uri": f"{address.rstrip('/')}/{archive.name}",
            "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
            "bin": f"{PROGRAM}/{PROGRAM}",
        }


def _is_of(path: Path, version: str) -> bool:
    match = _ARCHIVE.fullmatch(path.name)
    return match is not None and match["version"] == version
