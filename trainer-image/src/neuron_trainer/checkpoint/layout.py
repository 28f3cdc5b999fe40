"""Names of checkpoint directories and of the files in them; the marker is written last and removed first."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from neuron_api import contract

TRAINER_STATE: Final = "user_content.pt"
"""Counters, loops, schedule, random generators: everything that is not a tensor of the model or the optimizer."""

TENSOR_INDEX: Final = ".metadata"
"""Written by torch.distributed.checkpoint, beside its shards `__<rank>_0.distcp`."""

DEFAULT_TEMPLATE: Final = "{epoch}-{step}"
_LAST: Final = "-last"


def name(template: str | None, values: Mapping[str, float]) -> str:
    """Lightning's formatting: `{x}` and `{x:fmt}` become `x=` and the value; `/` in names becomes `_`; with suffix.

    Integers stay integers and floats are written in full: `hf--step=10-consumed_samples=10240.0.ckpt`.
    """

    def insert(match: re.Match[str]) -> str:
        key, _, form = match[1].partition(":")
        return f"{key.replace('/', '_')}={format(values.get(key, 0), form)}"

    return re.sub(r"\{(.*?)\}", insert, template or DEFAULT_TEMPLATE) + contract.CHECKPOINT_SUFFIX


def last_of(folder: Path) -> Path:
    """Name of the copy that `save_last` refreshes."""
    return folder.with_name(folder.name.removesuffix(contract.CHECKPOINT_SUFFIX) + _LAST + contract.CHECKPOINT_SUFFIX)


def is_last(folder: Path) -> bool:
    """Whether the directory is such a copy."""
    return folder.name.endswith(_LAST + contract.CHECKPOINT_SUFFIX)


def is_complete(folder: Path) -> bool:
    """A directory without its marker does not exist for any reader."""
    return (folder / contract.CHECKPOINT_MARKER).is_file()


def remove(folder: Path) -> None:
    """Marker first: a crash in between leaves a directory that no reader takes."""
    (folder / contract.CHECKPOINT_MARKER).unlink(missing_ok=True)
    if folder.exists():
        sync(folder)
        shutil.rmtree(folder)


def mark_complete(folder: Path) -> None:
    """The last act of writing: all other files are on the disk already."""
    sync(folder)
    write(folder / contract.CHECKPOINT_MARKER, "")
    sync(folder)
    sync(folder.parent)


def write(path: Path, text: str) -> None:
    """Write and wait until it is on the disk."""
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Wait until a file or a directory's entries are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
