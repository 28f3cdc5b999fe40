"""Bring images into the cluster's containerd: nothing is ever pulled."""

from __future__ import annotations

import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

from controlplane.errors import CommandFailed, MissingRequirement
from controlplane.requirements import program
from controlplane.shell import run
from offline import archive
from offline.nodeprograms import DNS_IMAGE, MAIN, PAUSE_IMAGE, Place, snapshotter

_IMPORT_SECONDS = 600.0


def load_archive(state: Path, path: Path, place: Place = MAIN) -> None:
    """Import a docker or OCI archive under the names it holds."""
    run(*_ctr(state, place), "images", "import", "--snapshotter", snapshotter(state), path, timeout=_IMPORT_SECONDS)


def names(state: Path, place: Place = MAIN) -> set[str]:
    """Images that a node has."""
    return set(run(*_ctr(state, place), "images", "ls", "--quiet").split())


def load_named(state: Path, image: str, builder: str | None = None, place: Place = MAIN) -> None:
    """Import an image from the storage of `builder` (a program), or of buildah or docker, whichever has it."""
    chosen = [Path(builder)] if builder else [found for name in ("buildah", "docker") if (found := program(name))]
    having = [each for each in chosen if _has(each, image)]
    if not having:
        looked = ", ".join(each.name for each in chosen) or "buildah, docker: neither is installed"
        raise MissingRequirement(f"{image} is neither a file nor an image ({looked}).")
    if having[0].name == "buildah":
        load_from_buildah(state, image, having[0], place)
        return
    with tempfile.TemporaryDirectory(dir=state) as scratch:
        path = Path(scratch) / "image.tar"
        run(having[0], "save", "--output", path, image, timeout=_IMPORT_SECONDS)
        load_archive(state, path, place)


def _has(builder: Path, image: str) -> bool:
    words = ["inspect", "--type", "image"] if builder.name == "buildah" else ["image", "inspect"]
    return subprocess.run([builder, *words, image], capture_output=True, check=False).returncode == 0


def load_from_buildah(state: Path, image: str, buildah: str | Path, place: Place = MAIN) -> None:
    """Import only what containerd lacks: after a change of code that is one small layer instead of 2 GB.

    buildah writes an image's blobs into a directory; those that are missing are streamed to containerd as
    an OCI archive, whose index names blobs that are there already.
    """
    with tempfile.TemporaryDirectory(dir=state) as scratch:
        directory = Path(scratch)
        run(buildah, "push", "--quiet", "--disable-compression", image, f"dir:{directory}", timeout=_IMPORT_SECONDS)
        manifest = (directory / "manifest.json").read_bytes()
        entry = archive.reference(json.loads(manifest)["mediaType"], manifest)
        index = {"schemaVersion": 2, "manifests": [entry | {"annotations": {"io.containerd.image.name": image}}]}
        have = set(run(*_ctr(state, place), "content", "ls", "--quiet").split())
        blobs = {"sha256:" + path.name: path for path in directory.iterdir() if len(path.name) == 64}
        blobs[entry["digest"]] = directory / "manifest.json"
        command = [str(word) for word in _ctr(state, place)]
        command += ["images", "import", "--snapshotter", snapshotter(state), "-"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as importing:
            assert importing.stdin is not None
            assert importing.stderr is not None
            with importing.stdin, tarfile.open(fileobj=importing.stdin, mode="w|") as tar:
                archive.add(tar, "oci-layout", archive.LAYOUT)
                archive.add(tar, "index.json", json.dumps(index).encode())
                for digest, path in blobs.items():
                    if digest not in have:
                        tar.add(path, "blobs/sha256/" + digest.removeprefix("sha256:"), recursive=False)
            errors = importing.stderr.read().decode()
        if importing.returncode != 0:
            raise CommandFailed(f"importing {image} into containerd failed: {errors.strip()[-2000:]}")


def load_own(state: Path, programs: dict[str, Path], place: Place = MAIN) -> None:
    """The two images that the cluster itself needs, each one static program."""
    for image, name in ((PAUSE_IMAGE, "pause"), (DNS_IMAGE, "coredns")):
        path = state / f"{name}.tar"
        archive.write(path, image=image, program=programs[name])
        load_archive(state, path, place)
        path.unlink()


def _ctr(state: Path, place: Place = MAIN) -> list[str | Path]:
    return [program("ctr") or "ctr", "--address", place.containerd_socket(state), "--namespace", "k8s.io"]


def tag(state: Path, image: str, name: str) -> None:
    """Give an imported image another name."""
    run(*_ctr(state), "images", "tag", "--force", image, name)
