"""`.metadata`, the index that torch.distributed.checkpoint writes: which tensor lies where in which file.

It is a pickle, and a pickle can run any function. So nothing but the index's own types is looked up here, everything
that comes out is checked, and a file can only be named, not pointed at: `../other` and `/etc/passwd` are refused.
"""

import pickle
from enum import Enum
from typing import IO, Any, Final

import torch
from torch.distributed.checkpoint import metadata as torch_metadata
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.serialization import _get_layout

from neuron_trainer.errors import CheckpointError

from . import layout

_MODULE: Final = "torch.distributed.checkpoint.metadata"
_TYPES: Final[dict[tuple[str, str], Any]] = {
    **{
        (_MODULE, kind.__name__): kind
        for kind in (
            BytesStorageMetadata,
            ChunkStorageMetadata,
            Metadata,
            MetadataIndex,
            StorageMeta,
            TensorProperties,
            TensorStorageMetadata,
            torch_metadata._MEM_FORMAT_ENCODING,
        )
    },
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"): _StorageInfo,
    ("torch", "Size"): torch.Size,
    ("torch.serialization", "_get_layout"): _get_layout,
}
_PLACES: Final = ("pathlib", "upath")
"""Packages of the path that a checkpoint was written to, which nobody reads again."""


class _Place:
    """Stands for such a path; does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


def _member(kind: Any, name: Any) -> Any:
    """Return the member of one of the enumerations above: Python 3.11.2 pickles it as `getattr(kind, name)`."""
    if isinstance(kind, type) and issubclass(kind, Enum) and isinstance(name, str) and kind in _TYPES.values():
        return kind[name]
    raise pickle.UnpicklingError("it asks for an attribute, which no index of tensors needs")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (kind := _TYPES.get((module, name))) is not None:
            return kind
        if (module, name) == ("builtins", "getattr"):
            return _member
        if module.partition(".")[0] in _PLACES:
            return _Place
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no index of tensors needs")


def read(file: IO[bytes], folder: object) -> Metadata:
    """The index; raises `CheckpointError` where it is damaged, or asks for more than an index may."""
    try:
        index = _Unpickler(file).load()
        _check(index)
    except CheckpointError:
        raise
    except Exception as problem:  # a damaged pickle raises anything
        raise CheckpointError(
            f"{folder} has no index of tensors that can be read ({problem or type(problem).__name__}). "
            "Nothing of it was run; use another checkpoint"
        ) from None
    metadata: Metadata = index
    return metadata


def files(metadata: Metadata) -> dict[str, int]:
    """Return, for each file that the index names, the bytes that it must have at least."""
    ends: dict[str, int] = {}
    for place in metadata.storage_data.values():
        ends[place.relative_path] = max(ends.get(place.relative_path, 0), place.offset + place.length)
    return ends


def _check(index: Any) -> None:
    if not isinstance(index, Metadata) or not isinstance(index.state_dict_metadata, dict):
        raise pickle.UnpicklingError("it is no index")
    for name, entry in index.state_dict_metadata.items():
        if not isinstance(name, str) or not isinstance(entry, TensorStorageMetadata | BytesStorageMetadata):
            raise pickle.UnpicklingError(f"{name!r} is no tensor")
        if isinstance(entry, TensorStorageMetadata):
            _check_tensor(name, entry)
    if not isinstance(index.storage_data, dict):
        raise pickle.UnpicklingError("it names no files")
    for key, place in index.storage_data.items():
        if not isinstance(key, MetadataIndex) or not isinstance(place, _StorageInfo):
            raise pickle.UnpicklingError("it names no files")
        _check_place(place)


def _check_tensor(name: str, entry: TensorStorageMetadata) -> None:
    shapes = [entry.size, *(size for chunk in entry.chunks for size in (chunk.offsets, chunk.sizes))]
    is_shape = all(isinstance(shape, torch.Size) and all(length >= 0 for length in shape) for shape in shapes)
    if not is_shape or not isinstance(entry.properties.dtype, torch.dtype):
        raise pickle.UnpicklingError(f"{name!r} has no shape or no type")


def _check_place(place: _StorageInfo) -> None:
    if not layout.is_plain(place.relative_path):
        raise pickle.UnpicklingError(f"it names {place.relative_path!r}, which is no file of the checkpoint")
    if place.transform_descriptors:
        raise pickle.UnpicklingError(f"{place.relative_path!r} is transformed, which this trainer never writes")
    if not all(type(number) is int and number >= 0 for number in (place.offset, place.length)):
        raise pickle.UnpicklingError(f"{place.relative_path!r} has no place of a tensor")
