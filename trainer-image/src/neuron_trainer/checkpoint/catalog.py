"""Which checkpoints there are, newest first, and whether one is what its manifest says."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from neuron_api import contract
from neuron_trainer.errors import CheckpointError

from . import layout
from .manifest import Manifest, entry, read

_READERS: Final = 4
"""Checksums in parallel: hashing releases the GIL and storage likes several readers."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A directory with a marker and a readable manifest; its files are not yet verified."""

    path: Path
    manifest: Manifest

    @property
    def step(self) -> int:
        """Optimizer steps done when it was written."""
        return self.manifest.step

    @property
    def is_resumable(self) -> bool:
        """Whether it has optimizer and counters, too."""
        return not self.manifest.weights_only


def complete(folder: Path) -> list[Candidate]:
    """Checkpoints with their marker, highest step first (never by time of modification)."""
    found = []
    for path in folder.glob(f"*{contract.CHECKPOINT_SUFFIX}"):
        if layout.is_complete(path):
            try:
                found.append(Candidate(path, read(path)))
            except CheckpointError:
                continue
    return sorted(found, key=lambda candidate: (candidate.step, not layout.is_last(candidate.path)), reverse=True)


def incomplete(folder: Path) -> list[Path]:
    """Directories that a killed save left."""
    return [path for path in folder.glob(f"*{contract.CHECKPOINT_SUFFIX}") if not layout.is_complete(path)]


def verify(path: Path) -> Manifest:
    """Compare every file with the manifest: sizes first, then checksums; raises `CheckpointError`."""
    if not layout.is_complete(path):
        raise CheckpointError(f"{path} has no marker `{contract.CHECKPOINT_MARKER}`: it was never completed")
    manifest = read(path)
    for name, expected in manifest.files.items():
        try:
            size = (path / name).stat().st_size
        except OSError:
            raise CheckpointError(f"{path / name} is missing") from None
        if size != expected.size:
            raise CheckpointError(f"{path / name} has {size} bytes, {expected.size} were written")
    with ThreadPoolExecutor(_READERS) as pool:
        for name, found in zip(manifest.files, pool.map(entry, (path / n for n in manifest.files)), strict=True):
            if found != manifest.files[name]:
                raise CheckpointError(f"{path / name} is corrupt: its checksum is not the one that was written")
    return manifest
