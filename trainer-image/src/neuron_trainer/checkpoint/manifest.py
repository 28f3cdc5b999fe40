"""`manifest.json`: what is in a checkpoint directory, from what run, and how every file must look."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import xxhash
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, NonNegativeInt, ValidationError

from neuron_api import contract
from neuron_trainer.errors import CheckpointError, NewerReleaseError

from . import layout
from .lora.entry import AdapterEntry

_CHUNK: Final = 1 << 20
_VERSION: Final = 2
_MAX_SIZE: Final = 1 << 28
"""Bytes; 2 million files of a checkpoint take as much."""


def _plain(name: str) -> str:
    if not layout.is_plain(name):
        raise ValueError(f"{name!r} is no name of a file in the checkpoint")
    return name


FileName = Annotated[str, AfterValidator(_plain)]


class FileEntry(BaseModel):
    """One file of the directory."""

    model_config = ConfigDict(frozen=True)

    size: NonNegativeInt
    """Bytes."""
    xxh128: str
    """XXH3 of 128 bits, in hex: it finds what storage damages, at several times the speed of SHA-256."""


class Manifest(BaseModel):
    """Written after all other files, before the marker."""

    model_config = ConfigDict(frozen=True)

    version: int = _VERSION
    step: NonNegativeInt
    """Optimizer steps done."""
    epoch: NonNegativeInt
    consumed_samples: NonNegativeInt
    global_batch_size: NonNegativeInt
    job_uid: str = ""
    """Empty outside of Kubernetes."""
    run_id: str = ""
    """Of the run that its log directory was of; empty: of a release that did not write it."""
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
    adapters: AdapterEntry | None = None
    """Of a model with adapters (`peft`): which base they belong to, and whether it is here, too."""
    files: dict[FileName, FileEntry] = {}
    """By name, all but the manifest and the marker."""


class _Version(BaseModel):
    """All that every later form has in common."""

    version: int = _VERSION


def of_weights(
    files: Iterable[Path],
    dtypes: Iterable[str],
    family: str,
    architecture: dict[str, object],
    adapters: AdapterEntry | None = None,
) -> Manifest:
    """Return the manifest as of a checkpoint of weights alone, for files that others have written."""
    return Manifest(
        step=0,
        epoch=0,
        consumed_samples=0,
        global_batch_size=0,
        config_hash="",
        family=family,
        architecture=architecture,
        topology={},
        precision="",
        dtype=", ".join(sorted({dtype.removeprefix("torch.") for dtype in dtypes})),
        time=datetime.fromtimestamp(max(file.stat().st_mtime for file in files), UTC),
        metrics={},
        weights_only=True,
        adapters=adapters,
    )


def read(folder: Path) -> Manifest:
    """Parse the manifest of a directory; raises `CheckpointError`, for one of a later release `NewerReleaseError`."""
    path = folder / contract.CHECKPOINT_MANIFEST
    try:
        if (size := path.stat().st_size) > _MAX_SIZE:
            raise CheckpointError(f"{path} is not a manifest: it has {size} bytes")
        content = path.read_bytes()
        _check_version(path, content)
        manifest = Manifest.model_validate_json(content)
    except OSError as problem:
        raise CheckpointError(f"{path}: {problem.strerror or 'there is no such object'}") from None
    except ValidationError as problem:
        raise CheckpointError(f"{path} is not a manifest: {_first(problem)}") from None
    return manifest


def _check_version(path: Path, content: bytes) -> None:
    """Check the release before anything else, since a later form may have other fields."""
    try:
        version = _Version.model_validate_json(content).version
    except ValidationError:
        return  # no later form, and the manifest's own check says what is wrong
    if version > _VERSION:
        raise NewerReleaseError(
            f"{path} has version {version}, this release reads up to {_VERSION}: use the release that wrote it"
        )


def _first(problem: ValidationError) -> str:
    """Return what is wrong, where, and how many more."""
    first, count = problem.errors(include_url=False, include_input=False)[0], problem.error_count()
    where = ".".join(map(str, first["loc"]))
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{where + ': ' if where else ''}{first['msg']}{more}"


def entry(path: Path) -> FileEntry:
    """Size and checksum of a file on the disk."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return FileEntry(size=path.stat().st_size, xxh128=digest.hexdigest())
