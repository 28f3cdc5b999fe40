"""`manifest.json`: what is in a checkpoint directory, from what run, and how every file must look."""

import hashlib
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from neuron_api import contract
from neuron_trainer.errors import CheckpointError

_CHUNK = 1 << 20


class FileEntry(BaseModel):
    """One file of the directory."""

    model_config = ConfigDict(frozen=True)

    size: int
    """Bytes."""
    sha256: str


class Manifest(BaseModel):
    """Written after all other files, before the marker."""

    model_config = ConfigDict(frozen=True)

    version: int = 1
    step: int
    """Optimizer steps done."""
    epoch: int
    consumed_samples: int
    global_batch_size: int
    job_uid: str = ""
    """Empty outside of Kubernetes."""
    config_hash: str
    architecture: dict[str, object]
    """The model's sizes: a run with others cannot take it up."""
    topology: dict[str, int | bool]
    precision: str
    dtype: str
    """Of the model tensors."""
    time: AwareDatetime
    metrics: dict[str, float]
    """Values that save_top_k may rank by."""
    files: dict[str, FileEntry]
    """By name, all but the manifest and the marker."""


def read(folder: Path) -> Manifest:
    """Parse the manifest of a directory; raises `CheckpointError`."""
    path = folder / contract.CHECKPOINT_MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as problem:
        raise CheckpointError(f"{path}: {problem.strerror}") from None
    except ValidationError as problem:
        raise CheckpointError(f"{path} is not a manifest: {problem.error_count()} wrong values") from None


def entry(path: Path) -> FileEntry:
    """Size and checksum of a file on the disk."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return FileEntry(size=path.stat().st_size, sha256=digest.hexdigest())
