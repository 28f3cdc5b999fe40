"""Which tensors are in a checkpoint, without reading them: torch.distributed.checkpoint's index says."""

import pickle
from dataclasses import dataclass
from pathlib import Path

from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from neuron_trainer.errors import CheckpointError

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
    files = ShardReader(folder) if files is None else files
    try:
        index = files.read_metadata().state_dict_metadata
    except (OSError, pickle.UnpicklingError, EOFError) as problem:
        raise CheckpointError(f"{folder} has no index of tensors that can be read: {problem}") from None
    found = []
    for name, entry in sorted(index.items()):
        if isinstance(entry, TensorStorageMetadata):
            dtype = entry.properties.dtype
            size = entry.size.numel() * dtype.itemsize
            found.append(StoredTensor(name, tuple(entry.size), str(dtype).removeprefix("torch."), size))
    return found
