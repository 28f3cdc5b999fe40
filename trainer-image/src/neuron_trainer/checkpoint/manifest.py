"""`manifest.json`: what is in a checkpoint directory, from what run, and how every file must look."""

from pathlib import Path

import xxhash
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from neuron_api import contract
from neuron_trainer.errors import CheckpointError

_CHUNK = 1 << 20


class FileEntry(BaseModel):
    """One file of the directory."""

    model_config = ConfigDict(frozen=True)

    size: int
    """Bytes."""
    xxh128: str
    """XXH3 of 128 bits, in hex: it finds what storage damages, at several times the speed of SHA-256."""


class Manifest(BaseModel):
    """Written after all other files, before the marker."""

    model_config = ConfigDict(frozen=True)

    version: int = 2
    step: int
    """Optimizer steps done."""
    epoch: int
    consumed_samples: int
    global_batch_size: int
    job_uid: str = ""
    """Empty outside of Kubernetes."""
    config_hash: str
    config: dict[str, object] | None = None
    """The effective configuration that it was written with; None in checkpoints of older releases."""
    family: str = ""
    """`llama`, `mistral`, `mixtral` or `megatron`."""
    architecture: dict[str, object]
    """The model's sizes: a run with others cannot take it up."""
    topology: dict[str, int | bool]
    precision: str
    dtype: str
    """Of the model tensors."""
    time: AwareDatetime
    metrics: dict[str, float]
    """Values that save_top_k may rank by."""
    by_tensor: bool = False
    """Whether each tensor has a file of its own (`save_xser`), and not each process one."""
    weights_only: bool = False
    """Without optimizer and counters: nothing can be resumed from it, weights can be begun with."""
    files: dict[str, FileEntry] = {}
    """By name, all but the manifest and the marker."""


def read(folder: Path) -> Manifest:
    """Parse the manifest of a directory; raises `CheckpointError`."""
    path = folder / contract.CHECKPOINT_MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as problem:
        raise CheckpointError(f"{path}: {problem.strerror or 'there is no such object'}") from None
    except ValidationError as problem:
        raise CheckpointError(f"{path} is not a manifest: {problem.error_count()} wrong values") from None


def entry(path: Path) -> FileEntry:
    """Size and checksum of a file on the disk."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return FileEntry(size=path.stat().st_size, xxh128=digest.hexdigest())
