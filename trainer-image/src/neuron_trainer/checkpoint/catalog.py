"""Which checkpoints there are, newest first, and whether one is what its manifest says."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from neuron_api import contract
from neuron_trainer.errors import CheckpointError, NewerReleaseError
from neuron_trainer.storage import places

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
        """Return whether it has optimizer and counters, too."""
        return not self.manifest.weights_only


@dataclass(frozen=True, slots=True)
class BrokenCheckpoint:
    """A directory with the name of a checkpoint that none can be taken from."""

    path: Path
    reason: str
    was_complete: bool
    """Whether it has its marker: a killed save leaves none."""
    is_newer: bool = False
    """Whether a later release wrote it, which can take it up."""


@dataclass(frozen=True, slots=True)
class Survey:
    """All that a directory has of checkpoints."""

    complete: tuple[Candidate, ...]
    """Highest step first (never by time of modification)."""
    broken: tuple[BrokenCheckpoint, ...]
    """By name."""


def survey(folder: Path) -> Survey:
    """Return what is in a directory of checkpoints; shards are not read. A file with such a name is nobody's
    checkpoint."""
    candidates, broken = list[Candidate](), list[BrokenCheckpoint]()
    for path in sorted(folder.glob(f"*{contract.CHECKPOINT_SUFFIX}")):
        if not path.is_dir():
            continue
        if not layout.is_complete(path):
            broken.append(BrokenCheckpoint(path, _cut_off(path), was_complete=False))
            continue
        try:
            candidates.append(Candidate(path, read(path)))
        except CheckpointError as problem:
            is_newer = isinstance(problem, NewerReleaseError)
            broken.append(BrokenCheckpoint(path, str(problem), was_complete=True, is_newer=is_newer))
    candidates.sort(key=lambda candidate: (candidate.step, not layout.is_last(candidate.path)), reverse=True)
    return Survey(tuple(candidates), tuple(broken))


def complete(folder: Path) -> list[Candidate]:
    """Checkpoints with their marker, highest step first (never by time of modification)."""
    return list(survey(folder).complete)


def incomplete(folder: Path) -> list[Path]:
    """Directories that a killed save left."""
    return [checkpoint.path for checkpoint in survey(folder).broken if not checkpoint.was_complete]


def verify(path: Path) -> Manifest:
    """Compare every file with the manifest: sizes first, then checksums; raises `CheckpointError`."""
    if not layout.is_complete(path):
        raise CheckpointError(_cut_off(path))
    manifest = read(path)
    for name, expected in manifest.files.items():
        _verify_size(path / name, expected.size)
    with ThreadPoolExecutor(_READERS) as pool:
        for name, actual in zip(manifest.files, pool.map(entry, (path / n for n in manifest.files)), strict=True):
            if actual != manifest.files[name]:
                raise CheckpointError(f"{path / name} is corrupt: its checksum is not the one that was written")
    _verify_contents(path, manifest)
    return manifest


def _cut_off(path: Path) -> str:
    return f"{path} has no marker `{contract.CHECKPOINT_MARKER}`: it was never completed"


def _verify_size(file: Path, expected: int) -> None:
    if not places.is_remote(file) and file.is_symlink():
        raise CheckpointError(f"{file} is a symbolic link: a checkpoint has files of its own; copy what it points to")
    try:
        size = file.stat().st_size
    except OSError:
        raise CheckpointError(f"{file} is missing") from None
    if size != expected:
        raise CheckpointError(f"{file} has {size} bytes, {expected} were written")


def _verify_contents(path: Path, manifest: Manifest) -> None:
    """Check what the checksums cannot know: that the files are a checkpoint, whoever has written them."""
    from . import reader  # torch, which a launcher does not wait for before it needs it

    for name, end in reader.shard_sizes(path).items():
        if name not in manifest.files or manifest.files[name].size < end:
            raise CheckpointError(f"{path / layout.TENSOR_INDEX} names {end} bytes of {name}, which are not there")
    if not manifest.weights_only:
        state = reader.load_trainer_state(path)
        if state["global_step"] != manifest.step:
            raise CheckpointError(f"{path} is of step {state['global_step']} and of step {manifest.step}")
