"""A directory of `transformers` (config.json, safetensors): what is in it."""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from neuron_trainer.errors import CheckpointError
from neuron_trainer.storage import places

from . import layout
from .manifest import Manifest, of_weights

CONFIG: Final = "config.json"
SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
_PICKLED: Final = ("pytorch_model.bin", "pytorch_model.bin.index.json")
REFUSAL: Final = (
    "{} is a pickle, which can run any code, and is not read. Save the model as safetensors (`save_pretrained` of "
    "transformers does)"
)
"""Takes the file."""

_MAX_JSON: Final = 1 << 27
"""Bytes; an index of a million tensors has as many."""


def is_hf_checkpoint(folder: Path) -> bool:
    """Return whether it has such files; never an object store's, whose files cannot be mapped."""
    return not places.is_remote(folder) and ((folder / INDEX).is_file() or (folder / SINGLE).is_file())


def config(folder: Path) -> dict[str, Any]:
    """config.json; raises `CheckpointError`."""
    return mapping(folder / CONFIG)


def pickled(folder: Path) -> Path | None:
    """A file with the weights as a pickle, which is never read: it could run any function."""
    return None if places.is_remote(folder) else next((f for f in map(folder.joinpath, _PICKLED) if f.is_file()), None)


class TensorLocation(NamedTuple):
    """One tensor in its file."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


def tensors(folder: Path) -> dict[str, TensorLocation]:
    """Return the tensors by name, from the files' headers, which fit the files' sizes; raises `CheckpointError`."""
    return {name: location for file in files(folder) for name, location in file_tensors(file).items()}


def file_tensors(file: Path) -> dict[str, TensorLocation]:
    """Return the tensors of one file by name, from its header, which fits its size; raises `CheckpointError`."""
    locations: dict[str, TensorLocation] = {}
    try:
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118  # it is no mapping
                part = opened.get_slice(name)
                dtype = part[:0].dtype if part.get_shape() else opened.get_tensor(name).dtype
                locations[name] = TensorLocation(file, name, tuple(part.get_shape()), dtype)
    except (OSError, SafetensorError) as problem:
        raise CheckpointError(f"{file} cannot be read: {problem}") from None
    return locations


def load(location: TensorLocation) -> Tensor:
    """Return one tensor, whole."""
    with safe_open(location.file, "pt") as opened:
        tensor: Tensor = opened.get_tensor(location.name)
        return tensor


def manifest(folder: Path, family: str, architecture: dict[str, object]) -> Manifest:
    """Return the manifest as of a checkpoint of weights alone; its files are there and whole. Raises
    `CheckpointError`."""
    dtypes = [str(tensor.dtype) for tensor in tensors(folder).values()]
    return of_weights(files(folder), dtypes, family, architecture)


def files(folder: Path) -> list[Path]:
    """Return the files with tensors; raises `CheckpointError`.

    The cache of huggingface_hub has links to them, so a link is followed; a name leaves the directory never."""
    if not (folder / INDEX).is_file():
        return [folder / SINGLE]
    names = mapping(folder / INDEX).get("weight_map")
    if not isinstance(names, dict) or not names or not all(layout.is_plain(name) for name in names.values()):
        raise CheckpointError(f"{folder / INDEX} cannot be read: weight_map must give each tensor's file by its name")
    return [folder / name for name in sorted(set(names.values()))]


def mapping(path: Path) -> dict[str, Any]:
    """Return a JSON file that holds keys and values; raises `CheckpointError`."""
    try:
        if path.stat().st_size > _MAX_JSON:
            raise CheckpointError(f"{path} cannot be read: it has {path.stat().st_size} bytes")
        values: Any = json.loads(path.read_bytes())
    except UnicodeDecodeError:
        raise CheckpointError(f"{path} cannot be read: it is not UTF-8 text. Save it as UTF-8") from None
    except (OSError, ValueError, RecursionError) as problem:
        raise CheckpointError(f"{path} cannot be read: {problem}") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} cannot be read: it is no mapping")
    return values
