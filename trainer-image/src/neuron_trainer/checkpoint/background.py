"""One writer beside training: a save costs the step the copy to host memory, the rest goes on meanwhile."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from threading import Thread
from typing import Final, cast

import torch.distributed as dist
from torch.distributed import ProcessGroup

from . import writer
from .writer import Snapshot

_TIMEOUT: Final = timedelta(minutes=30)
"""That a rank may take longer to write than the others, while all of them train."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A checkpoint that is being written."""

    step: int
    path: str
    future: "Future[None]"


class Background:
    """Has a process group of its own: its messages must not meet those of the steps that go on. A collective to make.

    At most one checkpoint is in flight. What goes wrong is raised by the next call of `finished` or `join`, on every
    rank, as a `CheckpointError` with step and path. The thread is a daemon: a process that has failed does not wait
    for peers that are gone.
    """

    def __init__(self) -> None:
        self._group: ProcessGroup | None = None
        if dist.get_world_size() > 1:
            self._group = cast(ProcessGroup, dist.new_group(backend="gloo", timeout=_TIMEOUT))
        self._pending: Pending | None = None

    def submit(self, snapshot: Snapshot, then: Callable[[], None]) -> None:
        """Begin to write; `then` runs in the writer's thread once the checkpoint is complete."""
        assert self._pending is None, "one at a time: join first"
        future: Future[None] = Future()

        def run() -> None:
            try:
                writer.write(snapshot, self._group)
                then()
                future.set_result(None)
            except BaseException as problem:
                future.set_exception(problem)

        self._pending = Pending(snapshot.manifest.step, str(snapshot.folder), future)
        Thread(target=run, name="checkpoint", daemon=True).start()

    def finished(self) -> Pending | None:
        """The checkpoint that has become complete since the last call; does not wait."""
        if self._pending is None or not self._pending.future.done():
            return None
        return self.join()

    def join(self, timeout: float | None = None) -> Pending | None:
        """Wait for the one in flight; None when there is none. `TimeoutError` after so many seconds."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.future.result(timeout)
        return pending
