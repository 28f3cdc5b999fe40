"""Write a checkpoint: every rank its shards into the final directory, rank 0 the rest, the marker last.

Object stores have no rename, so there is no temporary directory: completeness is the marker, nothing else.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch.distributed as dist
import xxhash
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_saver import save

from neuron_api import contract
from neuron_trainer.errors import CheckpointError, TrainerError
from neuron_trainer.storage import places

from . import layout
from .catalog import complete
from .manifest import FileEntry, Manifest
from .shards import ShardWriter, reasons

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at the end of a step, as it is to be written; nothing in it changes while it is."""

    folder: Path
    tensors: dict[str, Tensor]
    trainer_state: bytes
    """`user_content.pt`; on rank 0."""
    manifest: Manifest
    """Without its files; on rank 0."""
    one_file_per_tensor: bool = False
    guard: Callable[[], None] = lambda: None
    """Raises where the directory is no longer the run's; asked on rank 0, before the first file and the marker."""


def write(snapshot: Snapshot, group: ProcessGroup | None = None) -> None:
    """Called by all ranks of `group` (default: all) together; when it returns, the checkpoint is complete on the disk
    for every rank.

    Raises `CheckpointError` with step and path on every rank when any of them failed; what was written is removed,
    and may be of use to nobody but the next attempt on a full disk.
    """
    folder = snapshot.folder
    try:
        _on_rank_0(lambda: _prepare(snapshot), group)
        shards = ShardWriter(folder, one_file_per_tensor=snapshot.one_file_per_tensor)
        save(snapshot.tensors, storage_writer=shards, process_group=group)
        gathered: list[dict[str, FileEntry]] | None = None
        if dist.get_rank() == 0:
            gathered = [{} for _ in range(dist.get_world_size())]
        dist.gather_object(shards.entries, gathered, group=group)
        files = {name: one for part in gathered or () for name, one in part.items()}
        _on_rank_0(lambda: _finish(snapshot, files), group)
    except (OSError, CheckpointException) as problem:
        if dist.get_rank() == 0:
            with suppress(OSError):
                layout.remove(folder)
        raise CheckpointError(
            f"the checkpoint of step {snapshot.manifest.step} could not be written to {folder}: {reasons(problem)}"
        ) from problem


def _prepare(snapshot: Snapshot) -> None:
    snapshot.guard()
    folder = snapshot.folder
    layout.remove(folder)  # a killed save of the same step, or a step that is done again
    places.make(folder)


def _finish(snapshot: Snapshot, files: dict[str, FileEntry]) -> None:
    state, folder = snapshot.trainer_state, snapshot.folder
    if state:
        places.write(folder / layout.TRAINER_STATE, state)
        files[layout.TRAINER_STATE] = FileEntry(size=len(state), xxh128=xxhash.xxh3_128_hexdigest(state))
    manifest = snapshot.manifest.model_copy(update={"files": files})
    places.write(folder / contract.CHECKPOINT_MANIFEST, manifest.model_dump_json(indent=1).encode())
    snapshot.guard()
    layout.mark_complete(folder)


def _on_rank_0(action: Callable[[], None], group: ProcessGroup | None) -> None:
    """The others wait for it, and fail with it."""
    outcome: list[BaseException | None] = [None]
    if dist.get_rank() == 0:
        try:
            action()
        except (OSError, TrainerError) as problem:
            outcome = [problem]
    dist.broadcast_object_list(outcome, src=0, group=group)
    if outcome[0] is not None:
        raise outcome[0]


def copy_as_last(folder: Path, run_id: str = "") -> Path:
    """Refresh the `-last` copy by hard links (no second copy of the bytes), its marker last; where the new checkpoint
    itself has that name (`save_top_k` 0) only the old one goes.

    The one before goes when this one is complete, of whatever name it is. Another run's stays.
    """
    old = [one.path for one in complete(folder.parent) if layout.is_last(one.path) and one.manifest.run_id == run_id]
    target = folder if layout.is_last(folder) else _copy(folder)
    for path in old:
        if path != target:
            layout.remove(path)
    return target


def _copy(folder: Path) -> Path:
    target, number = layout.last_of(folder), 0
    while layout.is_complete(target):
        number += 1
        target = layout.last_of(folder, number)
    layout.remove(target)
    places.make(target)
    for path in folder.iterdir():
        if path.name != contract.CHECKPOINT_MARKER:
            places.copy(path, target / path.name)
    layout.mark_complete(target)
    return target
