"""From the moment of a step to a complete checkpoint, at once or beside training (`async_checkpointing`)."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuron_trainer.checkpoint import writer
from neuron_trainer.checkpoint.staging import Stage
from neuron_trainer.checkpoint.writer import BackgroundWriter

from .state import RunState

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Written:
    """A checkpoint that is complete."""

    step: int
    path: str


class Saving:
    """What Lightning's strategy calls for a checkpoint; both ways write the same bytes. Making one is a collective."""

    def __init__(self, state: RunState, tidy: Callable[[Path], None], *, is_async: bool) -> None:
        self._state, self._tidy = state, tidy
        self._background = BackgroundWriter() if is_async else None
        self._stage = Stage() if is_async else None
        self._written: Written | None = None

    def save(self, folder: Path, trainer_state: dict[str, Any]) -> None:
        """Begin a checkpoint, or write it; on all ranks together, after `join`."""
        snapshot = self._state.snapshot(folder, trainer_state, self._stage)
        if self._background is not None:
            self._background.submit(snapshot, lambda: self._tidy(folder))
            return
        writer.write(snapshot)
        self._tidy(folder)
        self._written = Written(snapshot.manifest.step, str(folder))

    def finished(self) -> Written | None:
        """What has become complete since the last call; does not wait. Raises what went wrong."""
        written, self._written = self._written, None
        if self._background is not None and (pending := self._background.finished()) is not None:
            return Written(pending.step, pending.path)
        return written

    def join(self, timeout: float | None = None) -> Written | None:
        """The same after the end of what is in flight; `TimeoutError` after so many seconds."""
        if self._background is not None and (pending := self._background.join(timeout)) is not None:
            return Written(pending.step, pending.path)
        return self.finished()
