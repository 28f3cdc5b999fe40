"""Push the images and the chart of a release to a registry, with what `docker login` and `helm registry login` know."""

from __future__ import annotations

import re
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from controlplane import optionalprograms, toolchain
from controlplane.errors import ClusterError
from releasebuild import environment
from releasebuild.project import CHART

CHARTS = "charts"
_ARCHIVE = re.compile(r"(?P<repository>[a-z-]+)_(?P<tag>[^_]+)_(?P<platform>[a-z]+-[a-z0-9]+)\.oci\.tar")


def push(folder: Path, version: str, registry: str, *, plain_http: bool) -> Iterator[str]:
    """Push what the folder has; yield the name of each thing that can be pulled then."""
    chart = folder / f"{CHART.name}-{version}.tgz"
    if not chart.exists():
        raise ClusterError(f"{chart} does not exist: build the release first (make release).")
    images: dict[str, list[tuple[str, Path]]] = {}
    for path in sorted(folder.glob("*.oci.tar")):
        if match := _ARCHIVE.fullmatch(path.name):
            name = f"{registry}/{match['repository']}:{match['tag']}"
            images.setdefault(name, []).append((match["platform"], path))
    for name, archives in images.items():
        _push_image(name, archives, plain_http=plain_http)
        yield name
    insecure = ["--plain-http"] if plain_http else []
    helm = toolchain.programs("helm")["helm"]
    environment.run(helm, "push", chart, f"oci://{registry}/{CHARTS}", *insecure)
    yield f"oci://{registry}/{CHARTS}/{CHART.name}:{version}"


def _push_image(name: str, archives: list[tuple[str, Path]], *, plain_http: bool) -> None:
    """Push the image of each architecture, then an index of them under the release's tag."""
    crane = optionalprograms.program("crane")
    insecure = ["--insecure"] if plain_http else []
    parts = []
    for platform, path in archives:
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch, tarfile.open(path) as archive:
            archive.extractall(scratch, filter="data")
            environment.run(crane, "push", *insecure, scratch, f"{name}-{platform}")
        parts += ["--manifest", f"{name}-{platform}"]
    environment.run(crane, "index", "append", *insecure, *parts, "--tag", name)
