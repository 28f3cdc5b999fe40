"""A base image in place of one with the Neuron runtime, for tests of the targets torchneuron and nxd.

A Debian root with Python's shared library and an index of empty wheels for what only AWS' index has. `torch_neuronx`
brings no device there, so a job computes on PyTorch/XLA's CPU.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from pathlib import Path

from controlplane.locations import fingerprint
from imagebuild import baseimage
from imagebuild.builder import Builder

INDEX_URL = "file:///opt/neuron-index/"
"""Of the empty wheels, in the image."""
_PYTHON_LIBRARY = r"?name(^libpython3\.[0-9]+$)"
"""`libpython3.11` of bookworm, by a pattern of apt: torch_xla links it, and `python3` is linked without it."""
_VERSIONS = {
    "torch-neuronx": ("2.9.0.2.13.0", "2.14.3"),
    "neuronx-cc": ("2.28.0",),
    "neuronx-distributed": ("0.17.0",),
    "nki": ("0.7.0",),
}
_MODULES = {"neuronx-cc": "neuronxcc"}
"""Names of modules that are not those of their packages."""
_METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: Stand-in without content.\n"
_WHEEL = "Wheel-Version: 1.0\nGenerator: neuronbase\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def ensure(builder: Builder, suite: str) -> str:
    """Name of the image on a release of Debian; makes it the first time."""
    packages = (*baseimage.PACKAGES, _PYTHON_LIBRARY)
    root = baseimage.ensure(builder, suite, packages)
    image = f"localhost/neuron-stand-in-base:{suite}-{fingerprint(root, Path(__file__).read_text())}"
    if not builder.has(image):
        with tempfile.TemporaryDirectory() as scratch:
            context = Path(scratch)
            context.chmod(0o755)
            write_index(context / "index")
            builder.build(image, f"FROM {root}\nCOPY index {INDEX_URL.removeprefix('file://')}\n", context)
    return image


def write_index(folder: Path) -> None:
    """Write the wheels and a page for each package."""
    for name, versions in _VERSIONS.items():
        page = folder / name
        page.mkdir(parents=True, exist_ok=True)
        wheels = [_wheel(page, name, version) for version in versions]
        page.joinpath("index.html").write_text("".join(map(_link, wheels)))


def _link(wheel: Path) -> str:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f'<a href="{wheel.name}#sha256={digest}">{wheel.name}</a>\n'


def _wheel(folder: Path, name: str, version: str) -> Path:
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{stem}-py3-none-any.whl"
    files = {
        f"{_MODULES.get(name, name.replace('-', '_'))}/__init__.py": f'"""Stand-in of {name} without content."""\n',
        f"{stem}.dist-info/METADATA": _METADATA.format(name=name, version=version),
        f"{stem}.dist-info/WHEEL": _WHEEL,
    }
    record = f"{stem}.dist-info/RECORD"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in files.items():
            archive.writestr(inside, text)
        archive.writestr(record, "".join(f"{inside},,\n" for inside in (*files, record)))
    return path
