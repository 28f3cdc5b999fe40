"""When a run is asked to stop, its newest copies in memory go to storage at once, beside the step that goes on.

A step may take longer than the grace of its pod. What the step then saves itself is newer; what is killed before has
left the steps up to the copy. One thread of each process looks; all write together, over a group of their own.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Final, cast

import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup, distributed_c10d

from neuron_trainer.checkpoint import writer
from neuron_trainer.checkpoint.writer import Snapshot
from neuron_trainer.errors import CheckpointError

from .agreement import choose
from .copies import MemoryCopies

log = logging.getLogger(__name__)

_POLL: Final = 0.5
"""Seconds between two looks."""
_NUMBERS: Final = count()
"""Of the keys that a process has used; all processes count alike."""
_WRITE: Final = "write"
_CLOSED: Final = "closed"
"""What the key says, once: the first process decides for all whether there is something to write together."""

Describe = Callable[[Mapping[str, Tensor], dict[str, Any], list[Any] | None, ProcessGroup | None], Snapshot]
"""Returns the checkpoint of a copy: its tensors, the trainer's state, on rank 0 the generators of all ranks."""


class Rescue:
    """The thread of a process; making it is a collective."""

    def __init__(
        self,
        copies: MemoryCopies,
        wants_stop: Callable[[], bool],
        saved_step: Callable[[], int],
        describe: Describe,
    ) -> None:
        """`wants_stop`: whether this node is asked to stop; `saved_step`: of the newest checkpoint."""
        self._copies, self._wants_stop, self._saved_step, self._describe = copies, wants_stop, saved_step, describe
        self._group: ProcessGroup | None = None
        self._store = distributed_c10d._get_default_store()
        if dist.get_world_size() > 1:
            self._group = cast(ProcessGroup, dist.new_group(backend="gloo"))
            self._store = self._store.clone()
        self._key = f"memory-rescue-{next(_NUMBERS)}"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-rescue", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def end(self) -> None:
        """Look no longer; what is being written is waited for."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while not (is_over := self._ended.wait(_POLL)):
                if self._wants_stop() or self._store.check([self._key]):
                    break
            if self._store.compare_set(self._key, "", _CLOSED if is_over else _WRITE).decode() == _WRITE:
                self._write()
        except Exception as problem:  # the step that goes on saves, too, or says what is wrong
            log.warning("copies in memory were not written: %s", problem or type(problem).__name__)

    def _write(self) -> None:
        step = self._agree()
        if not step:
            return
        exact, state = self._copies.pinned(step)
        generators: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
        dist.gather_object(state.pop("rng")[0], generators, group=self._group)
        snapshot = self._describe(exact, state, generators, self._group)
        try:
            writer.write(snapshot, self._group)
        except CheckpointError as problem:
            log.warning("%s", problem)
            return
        if dist.get_rank() == 0:
            log.info("asked to stop: the copy of step %d is written to %s", step, snapshot.folder.name)

    def _agree(self) -> int:
        """Return the newest step that all have a copy of and that stays where it is; 0: none, or storage has it."""
        everywhere: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everywhere, (self._saved_step(), self._copies.steps), group=self._group)
        stored = max(saved for saved, _ in everywhere)
        step = choose([steps for _, steps in everywhere], [], stored + 1).step
        pinned: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(pinned, bool(step) and self._copies.pin(step), group=self._group)
        return step if all(pinned) else 0
