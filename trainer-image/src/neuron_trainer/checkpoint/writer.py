"""Write a checkpoint: every rank its shards into the final directory, rank 0 the rest, the marker last.

Object stores have no rename, so there is no temporary directory: completeness is the marker, nothing else.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save

from neuron_api import contract

from . import layout
from .manifest import FileEntry, Manifest, entry

Describe = Callable[[dict[str, FileEntry]], Manifest]
"""Makes the manifest from the entries of all files."""


def write(folder: Path, tensors: dict[str, Tensor], trainer_state: dict[str, Any], describe: Describe) -> None:
    """Called by all ranks together; when it returns, the checkpoint is complete on the disk for every rank."""
    rank = dist.get_rank()
    if rank == 0:
        layout.remove(folder)  # a killed save of the same step, or a step that is done again
        folder.mkdir(parents=True)
    dist.barrier()
    save(tensors, storage_writer=FileSystemWriter(folder, sync_files=True))
    own = {path.name: entry(path) for path in folder.glob(f"__{rank}_*")}
    gathered: list[dict[str, FileEntry]] | None = [{} for _ in range(dist.get_world_size())] if rank == 0 else None
    dist.gather_object(own, gathered)
    if gathered is not None:
        _finish(folder, trainer_state, {name: one for part in gathered for name, one in part.items()}, describe)
    dist.barrier()


def _finish(folder: Path, trainer_state: dict[str, Any], files: dict[str, FileEntry], describe: Describe) -> None:
    state = folder / layout.TRAINER_STATE
    torch.save(trainer_state, state)
    layout.sync(state)
    for path in (state, folder / layout.TENSOR_INDEX):
        files[path.name] = entry(path)
    layout.write(folder / contract.CHECKPOINT_MANIFEST, describe(files).model_dump_json(indent=1))
    layout.mark_complete(folder)


def copy_as_last(folder: Path) -> Path:
    """Refresh the `-last` copy by hard links (no second copy of the bytes), its marker last."""
    target = layout.last_of(folder)
    for old in folder.parent.glob(f"*{contract.CHECKPOINT_SUFFIX}"):
        if layout.is_last(old):
            layout.remove(old)
    target.mkdir()
    for path in folder.iterdir():
        if path.name != contract.CHECKPOINT_MARKER:
            os.link(path, target / path.name)
    layout.mark_complete(target)
    return target
