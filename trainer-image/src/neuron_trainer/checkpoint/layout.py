"""Names of checkpoint directories and of the files in them; the marker is written last and removed first."""

from pathlib import Path, PurePosixPath
from typing import Final

from neuron_api import contract
from neuron_api.platform import directories
from neuron_api.platform.directories import CheckpointNaming
from neuron_trainer.storage import places

__all__ = ["CheckpointNaming"]

TRAINER_STATE: Final = "user_content.pt"
"""Counters, loops, schedule, random generators: everything that is not a tensor of the model or the optimizer."""

TENSOR_INDEX: Final = ".metadata"
"""Written by torch.distributed.checkpoint, beside its shards `__<rank>_0.distcp`."""

_LAST: Final = directories.LAST_SUFFIX


def is_plain(name: object) -> bool:
    """Return whether it names a file of the directory itself."""
    return isinstance(name, str) and PurePosixPath(name).name == name and not {"\0", "\\"} & set(name) and name != ".."


def last_of(folder: Path, number: int = 0) -> Path:
    """Name of the copy that `save_last` refreshes; `number` tells two of one name apart."""
    stem = folder.name.removesuffix(contract.CHECKPOINT_SUFFIX) + (f"-{number}" if number else "")
    return folder.with_name(stem + _LAST + contract.CHECKPOINT_SUFFIX)


def is_last(folder: Path) -> bool:
    """Return whether the directory is such a copy."""
    return folder.name.endswith(_LAST + contract.CHECKPOINT_SUFFIX)


def is_complete(folder: Path) -> bool:
    """A directory without its marker does not exist for any reader."""
    return (folder / contract.CHECKPOINT_MARKER).is_file()


def remove(folder: Path) -> None:
    """Marker first: a crash in between leaves a directory that no reader takes."""
    (folder / contract.CHECKPOINT_MARKER).unlink(missing_ok=True)
    if folder.exists():
        places.sync(folder)
        places.remove_tree(folder)


def mark_complete(folder: Path) -> None:
    """The last act of writing: all other files are on the disk already."""
    places.sync(folder)
    places.sync(folder.parent)
    places.write(folder / contract.CHECKPOINT_MARKER, contract.CHECKPOINT_MARKER.encode())
    places.sync(folder)
