"""The images of a release as OCI archives of this machine's architecture; `registry` joins those of several."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from controlplane.errors import ClusterError
from controlplane.locations import HACK
from imagebuild.builder import Builder
from imagebuild.images import IMAGES, Built
from releasebuild import environment
from releasebuild.chart import REPOSITORIES
from releasebuild.project import system

NAMES = {"operator": "neuron-operator", "trainer": "neuron-trainer"}
"""Names in a registry, by those of hack/images."""


def build(folder: Path, version: str, names: list[str]) -> list[Path]:
    """Build the images by hack/images, as everybody does, and write each as an archive."""
    environment.run(sys.executable, HACK / "images", "build", *names, "--cluster", "none")
    builder = Builder.find()
    return [_export(builder, folder, version, name) for name in names]


def _export(builder: Builder, folder: Path, version: str, name: str) -> Path:
    built = Built.load(IMAGES[name])
    if built is None:
        raise ClusterError(f"hack/images has no record of the image {name}.")
    repository = NAMES[name]
    tag = version + REPOSITORIES[repository]
    path = folder / f"{repository}_{tag}_{'-'.join(system())}.oci.tar"
    path.unlink(missing_ok=True)
    if builder.kind == "docker":  # since version 25 its archive is an OCI layout, too
        environment.run(builder.program, "save", "--output", path, built.image)
    else:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            arguments = ["push", "--quiet", "--format", "oci", built.image, f"oci-archive:{path}:{repository}:{tag}"]
            environment.run(builder.program, *arguments, TMPDIR=scratch)
    return path
