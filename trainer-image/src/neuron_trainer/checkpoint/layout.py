"""Names of checkpoint directories and of the files in them; the marker is written last and removed first."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from neuron_api import contract
from neuron_api.config import CheckpointCallbackParams

from . import storage

TRAINER_STATE: Final = "user_content.pt"
"""Counters, loops, schedule, random generators: everything that is not a tensor of the model or the optimizer."""

TENSOR_INDEX: Final = ".metadata"
"""Written by torch.distributed.checkpoint, beside its shards `__<rank>_0.distcp`."""

DEFAULT_TEMPLATE: Final = "{epoch}-{step}"
_LAST: Final = "-last"


@dataclass(frozen=True, slots=True)
class Naming:
    """How a checkpoint directory is named: Lightning's formatting of `filename`, and what stands around it.

    `{x}` and `{x:fmt}` become `x=` and the value (without the name, the value alone); `/` in names becomes `_`.
    Integers stay integers and floats are written in full: `hf--step=10-consumed_samples=10240.0.ckpt`.
    """

    template: str | None = None
    prefix: str | None = None
    postfix: str | None = None
    with_names: bool = True

    @classmethod
    def of(cls, params: CheckpointCallbackParams) -> "Naming":
        """As configured."""
        return cls(params.filename, params.prefix, params.postfix, params.auto_insert_metric_name)

    def name(self, values: Mapping[str, float], version: int = 0) -> str:
        """With suffix; `version` tells directories of one name apart (`enable_version_counter`)."""

        def insert(match: re.Match[str]) -> str:
            key, _, form = match[1].partition(":")
            label = f"{key.replace('/', '_')}=" if self.with_names else ""
            return f"{label}{format(values.get(key, 0), form)}"

        stem = re.sub(r"\{(.*?)\}", insert, self.template or DEFAULT_TEMPLATE)
        stem = "-".join(filter(None, (self.prefix, stem)))
        postfix = (self.postfix or "").removesuffix(contract.CHECKPOINT_SUFFIX)
        return stem + postfix + (f"-v{version}" if version else "") + contract.CHECKPOINT_SUFFIX


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
        storage.sync(folder)
        storage.remove_tree(folder)


def mark_complete(folder: Path) -> None:
    """The last act of writing: all other files are on the disk already."""
    storage.sync(folder)
    storage.sync(folder.parent)
    storage.write(folder / contract.CHECKPOINT_MARKER, contract.CHECKPOINT_MARKER.encode())
    storage.sync(folder)
