"""The project's images: what they are built from, and what the last build made."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from controlplane.locations import REPOSITORY, cache_directory, fingerprint


@dataclass(frozen=True)
class Image:
    """One image of the project."""

    name: str
    dockerfile: str
    target: str
    inputs: tuple[str, ...]
    """Files and folders whose content decides the image (those that the Dockerfile copies)."""

    @property
    def repository(self) -> str:
        """Name without tag."""
        return f"localhost/neuron-{self.name}"

    def fingerprint(self, arguments: Mapping[str, str]) -> str:
        """Changes when anything changes that the image is made of."""
        parts: list[str | bytes] = [f"{name}={value}" for name, value in sorted(arguments.items())]
        for path in sorted(path for each in (self.dockerfile, *self.inputs) for path in _files(REPOSITORY / each)):
            parts += [str(path.relative_to(REPOSITORY)), path.read_bytes()]
        return fingerprint(*parts)


_SHARED = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    ".dockerignore",
    "crds/src",
    "dashboard/src",
    "hack/imagebuild/build.lock",
)


def _trainer(name: str, target: str) -> Image:
    return Image(
        name,
        "trainer-image/Dockerfile",
        target,
        (
            *_SHARED,
            "trainer-image/src",
            f"trainer-image/requirements/{target}.lock",
            "hack/imagebuild/locked_install.py",
            "hack/imagebuild/neuron_locked_install.py",
            "hack/torch_cuda_stubs.py",
        ),
    )


IMAGES = {
    "operator": Image("operator", "Dockerfile", "", (*_SHARED, "operator/src", "requirements/operator.lock")),
    "trainer": _trainer("trainer", "cpu"),
    "torchneuron": _trainer("trainer-torchneuron", "torchneuron"),
    "nxd": _trainer("trainer-nxd", "nxd"),
}
LOCAL = ("operator", "trainer")
"""Those of the local cluster, which are built when none is named."""


@dataclass(frozen=True)
class Built:
    """What the last build of an image made; kept in the cache directory."""

    image: str
    """Name with a tag made of the image's id: a changed image has another name, so a Deployment rolls."""
    fingerprint: str
    seconds: float
    at: float

    @classmethod
    def load(cls, image: Image) -> Built | None:
        """The last build, if there was one."""
        try:
            return cls(**json.loads(_record(image).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    @classmethod
    def now(cls, image: Image, identifier: str, marks: str, seconds: float) -> Built:
        """A build that just ended."""
        return cls(f"{image.repository}:{identifier[:12]}", marks, round(seconds, 1), time.time())

    def save(self, image: Image) -> None:
        """Remember it."""
        path = _record(image)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self)))


def _record(image: Image) -> Path:
    return cache_directory() / "images" / f"{image.name}.json"


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [each for each in path.rglob("*") if each.is_file() and "__pycache__" not in each.parts]
