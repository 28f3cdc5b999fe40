"""A directory of `transformers` (config.json, safetensors): what is in it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from neuron_trainer.errors import CheckpointError

from . import storage
from .manifest import Manifest

CONFIG: Final = "config.json"
SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"


def is_one(folder: Path) -> bool:
    """Whether it has such files; never an object store's, whose files cannot be mapped."""
    return not storage.is_remote(folder) and ((folder / INDEX).is_file() or (folder / SINGLE).is_file())


def config(folder: Path) -> dict[str, Any]:
    """config.json; raises `CheckpointError`."""
    try:
        values: dict[str, Any] = json.loads((folder / CONFIG).read_text())
    except (OSError, ValueError) as problem:
        raise CheckpointError(f"{folder / CONFIG} cannot be read: {problem}") from None
    return values


class Stored(NamedTuple):
    """One tensor in its file."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


def tensors(folder: Path) -> dict[str, Stored]:
    """By name, from the files' headers, which fit the files' sizes; raises `CheckpointError`."""
    found: dict[str, Stored] = {}
    for file in _files(folder):
        try:
            with safe_open(file, "pt") as opened:
                for name in opened.keys():  # noqa: SIM118  # it is no mapping
                    part = opened.get_slice(name)
                    dtype = part[:0].dtype if part.get_shape() else opened.get_tensor(name).dtype
                    found[name] = Stored(file, name, tuple(part.get_shape()), dtype)
        except (OSError, SafetensorError) as problem:
            raise CheckpointError(f"{file} cannot be read: {problem}") from None
    return found


def manifest(folder: Path, family: str, architecture: dict[str, object]) -> Manifest:
    """As of a checkpoint of weights alone; its files are there and whole. Raises `CheckpointError`."""
    dtypes = {str(one.dtype).removeprefix("torch.") for one in tensors(folder).values()}
    written = max(file.stat().st_mtime for file in _files(folder))
    return Manifest(
        step=0, epoch=0, consumed_samples=0, global_batch_size=0, config_hash="", family=family,
        architecture=architecture, topology={}, precision="", dtype=", ".join(sorted(dtypes)),
        time=datetime.fromtimestamp(written, UTC), metrics={}, weights_only=True,
    )  # fmt: skip


def _files(folder: Path) -> list[Path]:
    if not (folder / INDEX).is_file():
        return [folder / SINGLE]
    try:
        return [folder / name for name in sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values()))]
    except (ValueError, KeyError) as problem:
        raise CheckpointError(f"{folder / INDEX} cannot be read: {problem!r}") from None
