"""When a checkpoint is written: every n steps, at the end, and when the node must go."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from neuron_api.config import ExpManagerConfig
from neuron_trainer.checkpoint import layout, retention, writer

from .module import TrainingModule
from .state import RunState

log = logging.getLogger(__name__)


class Checkpointing(pl.Callback):  # type: ignore[misc]
    """Runs after reporting and before stopping, so that a stop is always covered by a checkpoint."""

    def __init__(
        self,
        manager: ExpManagerConfig,
        state: RunState,
        folder: Path,
        on_begun: Callable[[], None],
        on_written: Callable[[int, str], None],
    ) -> None:
        self._params, self._state, self._folder = manager.checkpoint_callback_params, state, folder
        self._on_begun, self._on_written = on_begun, on_written
        self._is_on = manager.create_checkpoint_callback and self._params.save_top_k != 0
        self.saved_step = 0
        """Step of the newest complete checkpoint of this start, or of the one it resumed from."""
        if self._is_on and manager.async_checkpointing:
            log.info("exp_manager.async_checkpointing: this release writes checkpoints synchronously.")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Due by the counter, or because some node is going."""
        assert isinstance(pl_module, TrainingModule)
        every = self._params.every_n_train_steps
        due = every > 0 and trainer.global_step % every == 0
        if due or pl_module.is_stopping:
            self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, _: Any) -> None:
        """The final one; it counts as one of save_top_k."""
        self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        step = trainer.global_step
        if not self._is_on or step in (0, self.saved_step):
            return
        values = self._state.metrics(step, trainer.current_epoch)
        path = self._folder / layout.name(self._params.filename, values)
        self._on_begun()
        trainer.save_checkpoint(path, weights_only=False)
        self.saved_step = step
        self._on_written(step, str(path))
        if trainer.is_global_zero:
            self._tidy(path)

    def _tidy(self, path: Path) -> None:
        if self._params.save_last:
            writer.copy_as_last(path)
        gone = retention.apply(self._folder, path, self._params)
        log.info(
            "checkpoint %s is complete%s", path.name, f"; removed {', '.join(p.name for p in gone)}" if gone else ""
        )
