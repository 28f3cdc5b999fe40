"""Write a checkpoint: every rank its shards into the final directory, rank 0 the rest, the marker last.

Object stores have no rename, so there is no temporary directory: completeness is the marker, nothing else.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Final, cast

import torch.distributed as dist
import xxhash
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_saver import save

from neuron_api import contract
from neuron_trainer.errors import CheckpointError, TrainerError
from neuron_trainer.parallel import hosts
from neuron_trainer.storage import places

from . import layout
from .catalog import complete
from .manifest import FileEntry, Manifest
from .shards import ShardWriter, reasons

_TIMEOUT: Final = timedelta(minutes=30)
"""How much longer than the others a rank may take to write, while all of them train."""


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
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Further ones by name; on rank 0."""
    guard: Callable[[], None] = lambda: None
    """Raises where the directory is no longer the run's; called on rank 0 before the first file and the marker."""


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """A checkpoint that is being written."""

    step: int
    path: str
    future: "Future[None]"


class BackgroundWriter:
    """Writes beside training: a save costs the step the copy to host memory, the rest goes on meanwhile.

    It has a process group of its own, since its messages must not meet those of the steps that go on; so making one is
    a collective. At most one checkpoint is in flight. What goes wrong is raised by the next call of `finished` or
    `join`, on every rank, as a `CheckpointError` with step and path. The thread is a daemon: a process that has failed
    does not wait for peers that are gone.
    """

    def __init__(self) -> None:
        self._group: ProcessGroup | None = None
        if dist.get_world_size() > 1:
            self._group = cast(ProcessGroup, dist.new_group(backend="gloo", timeout=_TIMEOUT))
        self._pending: PendingWrite | None = None

    def submit(self, snapshot: Snapshot, then: Callable[[], None]) -> None:
        """Begin to write; `then` runs in the writer's thread once the checkpoint is complete."""
        assert self._pending is None, "one at a time: join first"
        future: Future[None] = Future()

        def run() -> None:
            try:
                write(snapshot, self._group)
                then()
                future.set_result(None)
            except BaseException as problem:
                future.set_exception(problem)

        self._pending = PendingWrite(snapshot.manifest.step, str(snapshot.folder), future)
        Thread(target=run, name="checkpoint", daemon=True).start()

    def finished(self) -> PendingWrite | None:
        """Return the checkpoint that has become complete since the last call; does not wait."""
        if self._pending is None or not self._pending.future.done():
            return None
        return self.join()

    def join(self, timeout: float | None = None) -> PendingWrite | None:
        """Wait for the checkpoint in flight and return it; raises `TimeoutError` after `timeout` seconds."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.future.result(timeout)
        return pending


def write(snapshot: Snapshot, group: ProcessGroup | None = None) -> None:
    """Write a checkpoint; all ranks of `group`, one of hosts (default: that of all), call it together.

    When it returns, the checkpoint is complete on the disk for every rank. Raises `CheckpointError` with step and path
    on every rank when any of them failed; what was written is removed, since it could only fill a disk.
    """
    folder, group = snapshot.folder, group or hosts.group()
    try:
        _on_rank_0(lambda: _prepare(snapshot), group)
        shards = ShardWriter(folder, one_file_per_tensor=snapshot.one_file_per_tensor)
        save(snapshot.tensors, storage_writer=shards, process_group=group)
        gathered: list[dict[str, FileEntry]] | None = None
        if dist.get_rank() == 0:
            gathered = [{} for _ in range(dist.get_world_size())]
        dist.gather_object(shards.entries, gathered, group=group)
        files = {name: entry for entries in gathered or () for name, entry in entries.items()}
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
    further = {**snapshot.files, **({layout.TRAINER_STATE: state} if state else {})}
    for name, content in further.items():
        places.write(folder / name, content)
        files[name] = FileEntry(size=len(content), xxh128=xxhash.xxh3_128_hexdigest(content))
    manifest = snapshot.manifest.model_copy(update={"files": files})
    places.write(folder / contract.CHECKPOINT_MANIFEST, manifest.model_dump_json(indent=1).encode())
    snapshot.guard()
    layout.mark_complete(folder)


def _on_rank_0(action: Callable[[], None], group: ProcessGroup | None) -> None:
    """Run an action on rank 0; the others wait for it, and fail with it."""
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
    """Refresh the `-last` copy by hard links (no second copy of the bytes), its marker last, and return it.

    Where the new checkpoint itself has that name (`save_top_k` 0) only the old copy goes. The copy before goes when
    this one is complete, whatever its name; another run's stays.
    """
    candidates = complete(folder.parent)
    old = [item.path for item in candidates if layout.is_last(item.path) and item.manifest.run_id == run_id]
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
