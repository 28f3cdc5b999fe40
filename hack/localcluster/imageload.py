"""Bring images into the cluster's containerd: nothing is ever pulled."""

from __future__ import annotations

import tempfile
from pathlib import Path

from localcluster import archive
from localcluster.errors import MissingRequirement
from localcluster.nodeprograms import DNS_IMAGE, PAUSE_IMAGE, containerd_socket, snapshotter
from localcluster.requirements import program
from localcluster.shell import run

_IMPORT_SECONDS = 600.0


def load_archive(state: Path, path: Path) -> None:
    """Import a docker or OCI archive under the names it holds."""
    run(*_ctr(state), "images", "import", "--snapshotter", snapshotter(state), path, timeout=_IMPORT_SECONDS)


def load_named(state: Path, image: str) -> None:
    """Import an image from buildah's or docker's storage, whichever is there."""
    with tempfile.TemporaryDirectory(dir=state) as scratch:
        path = Path(scratch) / "image.tar"
        if buildah := program("buildah"):
            run(buildah, "push", "--quiet", image, f"docker-archive:{path}:{image}", timeout=_IMPORT_SECONDS)
        elif docker := program("docker"):
            run(docker, "save", "--output", path, image, timeout=_IMPORT_SECONDS)
        else:
            raise MissingRequirement("Neither buildah nor docker is installed; give an archive file instead of a name.")
        load_archive(state, path)


def load_own(state: Path, programs: dict[str, Path]) -> None:
    """The two images that the cluster itself needs, each one static program."""
    for image, name in ((PAUSE_IMAGE, "pause"), (DNS_IMAGE, "coredns")):
        path = state / f"{name}.tar"
        archive.write(path, image=image, program=programs[name])
        load_archive(state, path)
        path.unlink()


def _ctr(state: Path) -> list[str | Path]:
    return [program("ctr") or "ctr", "--address", containerd_socket(state), "--namespace", "k8s.io"]


def tag(state: Path, image: str, name: str) -> None:
    """Give an imported image another name."""
    run(*_ctr(state), "images", "tag", "--force", image, name)
