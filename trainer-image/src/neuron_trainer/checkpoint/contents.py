"""Which tensors are in a checkpoint, without reading them: torch.distributed.checkpoint's index says."""

from dataclasses import dataclass
from pathlib import Path

from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

from neuron_trainer.errors import CheckpointError

from . import tensor_index
from .shards import ShardReader


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor, whatever it was split over."""

    name: str
    """`model.<parameter>` or `optim.<parameter>.<state>`."""
    shape: tuple[int, ...]
    dtype: str
    size: int
    """Bytes of the whole tensor."""


def tensors(folder: Path, files: FileSystemReader | None = None) -> list[StoredTensor]:
    """In the order of their names; raises `CheckpointError`. `files`: by default of a checkpoint of our own."""
    index = _index(folder, ShardReader(folder) if files is None else files).state_dict_metadata
    found = []
    for name, entry in sorted(index.items()):
        if isinstance(entry, TensorStorageMetadata):
            dtype = entry.properties.dtype
            size = entry.size.numel() * dtype.itemsize
            found.append(StoredTensor(name, tuple(entry.size), str(dtype).removeprefix("torch."), size))
    return found


def files(folder: Path) -> dict[str, int]:
    """Names of the shards of a checkpoint of our own, and the bytes that each must have; raises `CheckpointError`."""
    return tensor_index.files(_index(folder, ShardReader(folder)))


def _index(folder: Path, files: FileSystemReader) -> Metadata:
    try:
        return files.read_metadata()
    except OSError as problem:
        raise CheckpointError(f"{folder} has no index of tensors that can be read: {problem}") from None
