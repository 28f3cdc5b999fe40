"""The chart as an archive that installs without flags: its defaults name the images of the same release."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from controlplane import toolchain
from controlplane.errors import ClusterError
from releasebuild import environment
from releasebuild.project import CHART

REPOSITORIES = {"neuron-operator": "", "neuron-trainer": "-cpu"}
"""Images that every release has, by name, with the suffix of their tag."""
_ENTRY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z0-9_]+):(?P<value> *[^#\n]*)")


def build(folder: Path, version: str, registry: str) -> Path:
    """Package the chart, annotated for Artifact Hub; with a registry the images there are the values' defaults."""
    helm = toolchain.programs("helm")["helm"]
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copytree(CHART, Path(scratch) / CHART.name))
        if registry:
            values = copy / "values.yaml"
            values.write_text(with_defaults(values.read_text(), defaults(version, registry)))
        with (copy / "Chart.yaml").open("a") as definition:
            definition.write(annotations(version, registry))
        environment.run(helm, "lint", "--strict", copy)
        environment.run(helm, "package", copy, "--version", version, "--app-version", version, "--destination", folder)
    return folder / f"{CHART.name}-{version}.tgz"


def defaults(version: str, registry: str) -> dict[str, str]:
    """Return the values that name the images, by their path."""
    host, _, path = registry.partition("/")
    prefix = f"{path}/" if path else ""
    return {
        "image.registry": host,
        "image.repository": f"{prefix}neuron-operator",
        "trainerImages.cpu.registry": host,
        "trainerImages.cpu.repository": f"{prefix}neuron-trainer",
        "trainerImages.cpu.tag": version + REPOSITORIES["neuron-trainer"],
    }


def annotations(version: str, registry: str) -> str:
    """Return the end of Chart.yaml, whose last key is `annotations`."""
    lines = ['  artifacthub.io/prerelease: "true"'] if version.startswith("0.") else []
    if registry:
        lines.append("  artifacthub.io/images: |")
        for name, suffix in REPOSITORIES.items():
            lines += [f"    - name: {name}", f"      image: {registry}/{name}:{version}{suffix}"]
    return "".join(f"{line}\n" for line in lines)


def with_defaults(text: str, changes: Mapping[str, str]) -> str:
    """Return a file of values with other values at these paths; comments and order stay. Raises where a path is
    missing."""
    missing, place, lines = dict(changes), list[tuple[int, str]](), []
    for line in text.splitlines(keepends=True):
        match = _ENTRY.match(line)
        if match is None:
            lines.append(line)
            continue
        indent = len(match["indent"])
        place = [*(entry for entry in place if entry[0] < indent), (indent, match["key"])]
        value = missing.pop(".".join(key for _, key in place), None)
        lines.append(line if value is None else f'{match["indent"]}{match["key"]}: "{value}"\n')
    if missing:
        raise ClusterError(f"values.yaml has no {', '.join(missing)}: the chart's values have changed.")
    return "".join(lines)
