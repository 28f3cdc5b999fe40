"""Leaving the loop at the end of a step: some node was asked to go, or the time is over."""

import signal
from typing import Any

import lightning.pytorch as pl

from .module import TrainingModule


class Stopping(pl.Callback):  # type: ignore[misc]
    """Last of the callbacks: the checkpoint of this step is complete when it runs."""

    is_preempted = False
    """Whether training ended here and not at its end."""

    def on_train_start(self, *_: Any) -> None:
        """Lightning has just installed a handler that swallows SIGTERM; a worker must end on it at once."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """All ranks have the same answer, so all leave together."""
        assert isinstance(pl_module, TrainingModule)
        self.is_preempted = pl_module.is_stopping
        if pl_module.is_stopping or pl_module.is_over:
            # min_steps and min_epochs hold back early stopping only: a node that must go does not wait for them.
            trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps = None, None
            # Lightning would validate before it leaves, and a node that goes has its grace for the checkpoint only.
            trainer.limit_val_batches = 0
            trainer.should_stop = True
