"""When a checkpoint is written: after steps, time or epochs, at the end, and when the node must go."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

from neuron_api import contract
from neuron_api.config import ExpManagerConfig
from neuron_trainer import accelerators
from neuron_trainer.checkpoint import layout, retention, writer
from neuron_trainer.checkpoint.memory.copies import MemoryCopies
from neuron_trainer.checkpoint.memory.rescue import Rescue
from neuron_trainer.checkpoint.staging import Stage
from neuron_trainer.checkpoint.writer import BackgroundWriter, Snapshot
from neuron_trainer.errors import InputError

from . import ranking
from .module import TrainingModule
from .state import RunState

log = logging.getLogger(__name__)


_RESCUED: Final = "-memory"
"""In the name of a checkpoint that was a copy in memory: a save of the step that goes on has none like it."""
_PATIENCE: Final = 60.0
"""Seconds that a process which has failed gives a checkpoint in flight."""


class Observer(Protocol):
    """Receives the events of a checkpoint."""

    def checkpoint_begun(self) -> None:
        """Training waits."""

    def checkpoint_staged(self) -> None:
        """Training goes on, the checkpoint is being written."""

    def checkpoint_written(self, step: int, path: str) -> None:
        """It is complete."""


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
        is_host = accelerators.get(state.module.backend.device.type).is_host
        self._stage = Stage() if is_async or not is_host else None  # from a device a save is a copy anyway
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
        """Return what has become complete since the last call; does not wait. Raises what went wrong."""
        written, self._written = self._written, None
        if self._background is not None and (pending := self._background.finished()) is not None:
            return Written(pending.step, pending.path)
        return written

    def join(self, timeout: float | None = None) -> Written | None:
        """Return the same after the end of what is in flight; `TimeoutError` after so many seconds."""
        if self._background is not None and (pending := self._background.join(timeout)) is not None:
            return Written(pending.step, pending.path)
        return self.finished()


class Checkpointing(pl.Callback):  # type: ignore[misc]
    """Runs after reporting and early stopping, whose count it saves, and before `Stopping`: a stop has its checkpoint.

    `sync` copies the log directory to its mirror, when a checkpoint is complete.
    """

    def __init__(
        self,
        manager: ExpManagerConfig,
        state: RunState,
        folder: Path,
        observer: Observer,
        rank: int,
        sync: Callable[[], None],
    ) -> None:
        self._params, self._state, self._folder, self._observer = (
            manager.checkpoint_callback_params,
            state,
            folder,
            observer,
        )
        self._is_first, self._sync = rank == 0, sync
        self._is_on = manager.writes_checkpoints
        self.saving = Saving(state, self._tidy, is_async=self._is_on and manager.async_checkpointing)
        self.saved_step = 0
        """Step of the newest checkpoint of this start, or of the one it resumed from."""
        self._last_time = time.monotonic()
        self._is_waiting = False
        """A checkpoint is due, as soon as this step's validation is over."""

    @property
    def can_resume(self) -> bool:
        """Return whether checkpoints are written, with all that a resume needs."""
        return self._is_on and not self._params.save_weights_only

    def of_copy(
        self,
        exact: Mapping[str, Tensor],
        state: dict[str, Any],
        generators: list[Any] | None,
        group: ProcessGroup | None,
    ) -> Snapshot:
        """Return the checkpoint of a copy in memory; a collective of `group`, and of no thread that trains."""
        values, naming = state["metrics"], layout.CheckpointNaming.from_params(self._params)
        version: list[Any] = [self._free_version(naming, values, _RESCUED) if self._is_first else None]
        dist.broadcast_object_list(version, src=0, group=group)
        folder = self._named(naming.name(values, version[0]), _RESCUED)
        return self._state.from_copy(folder, exact, state, generators)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """`train_time_interval` counts from here. Raises `InputError`: see `ranking`."""
        self._last_time = time.monotonic()
        self._check_ranking(trainer, pl_module)

    def _check_ranking(self, trainer: pl.Trainer, module: TrainingModule) -> None:
        rhythm = ranking.Validations(
            trainer.val_check_batch or 1,
            trainer.check_val_every_n_epoch,
            module.epoch_steps,
            is_on=bool(trainer.enable_validation),
        )
        finding = ranking.check(self._params, rhythm, trainer.global_step, module.total_steps)
        if self._is_on and finding is not None:
            raise InputError([finding])

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Due by a rhythm, or because some node is going."""
        assert isinstance(pl_module, TrainingModule)
        is_stopping = pl_module.is_stopping
        if is_stopping or self._is_due(trainer):
            self._is_waiting = not is_stopping and _is_validated(trainer)
            if not self._is_waiting:
                self._save(trainer, wait=is_stopping)
        else:
            self._report(self.saving.finished())

    def on_validation_end(self, trainer: pl.Trainer, _: Any) -> None:
        """Save with the loss of this very step, and nothing for a resume to validate again (B-4, 8)."""
        if self._is_waiting:
            self._is_waiting = False
            self._save(trainer, wait=False)

    def on_train_end(self, trainer: pl.Trainer, _: Any) -> None:
        """The final one; it counts as one of save_top_k."""
        self._save(trainer, wait=True)

    def on_exception(self, *_: Any) -> None:
        """Another failure ends the run: what is in flight is finished, for the next start."""
        try:
            self._report(self.saving.join(_PATIENCE))
        except Exception as problem:
            log.error("a checkpoint was lost with the run: %s", problem or type(problem).__name__)

    def _is_due(self, trainer: pl.Trainer) -> bool:
        params = self._params
        if params.every_n_train_steps:
            return bool(trainer.global_step % params.every_n_train_steps == 0)
        if params.every_n_epochs:
            return bool(trainer.is_last_batch and (trainer.current_epoch + 1) % params.every_n_epochs == 0)
        return params.train_time_interval is not None and self._agree(self._is_time(params.train_time_interval))

    def _is_time(self, seconds: float) -> bool:
        return time.monotonic() - self._last_time >= seconds

    def _agree(self, value: int | bool) -> bool:
        return bool(self._from_rank_0(int(value)))

    def _from_rank_0(self, value: int) -> int:
        """Return the first rank's value on all: clocks and listings differ."""
        share = torch.tensor([float(value if self._is_first else 0)])
        return round(self._state.module.backend.sum_over_processes(share).item())

    def _save(self, trainer: pl.Trainer, *, wait: bool) -> None:
        step = trainer.global_step
        if self._is_on and step not in (0, self.saved_step):
            self._observer.checkpoint_begun()
            self._report(self.saving.join())
            path = self._path(step)
            self._warn_of_rank(step)
            trainer.save_checkpoint(path)
            self.saved_step, self._last_time = step, time.monotonic()
            self._observer.checkpoint_staged()
            self._report(self.saving.finished())
        if wait:
            self._report(self.saving.join())

    def _warn_of_rank(self, step: int) -> None:
        """The last one, and one on request, may come between two validations."""
        value, monitor = self._state.metrics(step).get(retention.VALIDATION), self._params.monitor
        if monitor == retention.VALIDATION and self._is_first and (value is None or not math.isfinite(value)):
            what = "there is no validation after it" if value is None else f"its val_loss is {value}"
            log.warning("the checkpoint of step %d ranks last by monitor val_loss: %s", step, what)

    def _path(self, step: int) -> Path:
        """A name that no complete checkpoint has: the run's own goes when this one is complete, another run's stays."""
        naming, values = layout.CheckpointNaming.from_params(self._params), self._state.metrics(step)
        version = self._free_version(naming, values) if self._is_first else 0
        return self._named(naming.name(values, self._from_rank_0(version)))

    def _free_version(self, naming: layout.CheckpointNaming, values: dict[str, float], suffix: str = "") -> int:
        version = 0
        while layout.is_complete(self._named(naming.name(values, version), suffix)):
            version += 1
        return version

    def _named(self, name: str, suffix: str = "") -> Path:
        path = self._folder / (name.removesuffix(contract.CHECKPOINT_SUFFIX) + suffix + contract.CHECKPOINT_SUFFIX)
        return path if self._params.save_top_k else layout.last_of(path)

    def _report(self, written: Any) -> None:
        if written is not None:
            self._observer.checkpoint_written(written.step, written.path)

    def _tidy(self, path: Path) -> None:
        """Delete by rank 0, in the writer's thread; a directory that cannot be deleted is no reason to end the
        training."""
        if not self._is_first:
            return
        log.info("checkpoint %s is complete", path.name)
        try:
            self._state.guard()
            if self._params.save_last:
                writer.copy_as_last(path, self._state.run_id)
            if not self._params.enable_version_counter:
                retention.remove_replaced(path, self._state.run_id)
            if removed := retention.apply(self._folder, path, self._params, self._state.run_id):
                log.info("removed %s", ", ".join(path.name for path in removed))
            self._sync()
        except OSError as problem:
            log.error("checkpoints beside %s could not be put in order: %s", path, problem)


class MemoryCheckpointing(pl.Callback):  # type: ignore[misc]
    """Copies the run's state to shared memory after every n-th step; the last step's is in the final checkpoint."""

    def __init__(
        self,
        state: RunState,
        copies: MemoryCopies,
        every_steps: int,
        saving: Checkpointing,
        wants_stop: Callable[[], bool],
        pause: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`wants_stop`: whether this node is asked to stop; the newest copy then goes where `saving` writes. `pause`:
        what training is in while it waits for a copy."""
        self._state, self._copies, self._every, self._pause = state, copies, every_steps, pause
        self._rescue = (
            Rescue(copies, wants_stop, lambda: saving.saved_step, saving.of_copy) if saving.can_resume else None
        )
        self._is_waiting = False
        """A copy is due, as soon as this step's validation is over."""

    def on_train_start(self, _: pl.Trainer, pl_module: Any) -> None:
        """All have loaded: other copies go, and each update waits from now on for the copy of the step before it."""
        self._copies.begin_training()
        pl_module.before_update = self._end_copy
        if self._rescue is not None:
            self._rescue.start()

    def on_train_end(self, *_: Any) -> None:
        """Wait for what is being written: the process group is taken down next."""
        if self._rescue is not None:
            self._rescue.end()

    def _end_copy(self) -> Callable[[], None]:
        with self._pause():
            return self._copies.end_copy()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Due by the number of the step."""
        self._copies.touch()
        step = trainer.global_step
        if (
            step % self._every == 0
            and step != pl_module.total_steps
            and not (pl_module.is_stopping or pl_module.is_over)
        ):
            self._is_waiting = _is_validated(trainer)
            if not self._is_waiting:
                self._begin(trainer)

    def on_validation_end(self, trainer: pl.Trainer, _: Any) -> None:
        """A resume has nothing of this step to validate again (B-4, 8)."""
        if self._is_waiting:
            self._is_waiting = False
            self._begin(trainer)

    def _begin(self, trainer: pl.Trainer) -> None:
        if trainer.should_stop:
            return  # the final checkpoint follows
        with self._pause():
            state = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
            self._copies.begin(trainer.global_step, self._state.beside_tensors(state))


def _is_validated(trainer: pl.Trainer) -> bool:
    """Return whether Lightning validates after this step."""
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    return bool(loop.epoch_loop._should_check_val_fx(loop._data_fetcher))
