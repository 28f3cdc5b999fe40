"""Leaving the loop at the end of a step because some node was asked to go."""

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
        if pl_module.is_stopping:
            self.is_preempted = True
            trainer.should_stop = True
