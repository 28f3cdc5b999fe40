"""Leaving the loop at the end of a step: some node was asked to go, or the time is over."""

import signal
from enum import StrEnum
from typing import Any

import lightning.pytorch as pl

from .module import TrainingModule


class Stop(StrEnum):
    """Why a start trained no further."""

    END = "end"
    """The last step, or the last epoch, is done."""
    TIME = "time"
    """`trainer.max_time` is over."""
    EARLY = "early"
    """Early stopping."""
    REQUEST = "request"
    """Some node was asked to go."""


class Stopping(pl.Callback):  # type: ignore[misc]
    """Last of the callbacks: the checkpoint of this step is complete when it runs."""

    stop = Stop.END
    """Why training ended."""

    def on_train_start(self, *_: Any) -> None:
        """Lightning has just installed a handler that swallows SIGTERM; a worker must end on it at once."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """All ranks have the same answer, so all leave together."""
        assert isinstance(pl_module, TrainingModule)
        if pl_module.is_stopping or pl_module.is_over:
            self.stop = Stop.REQUEST if pl_module.is_stopping else Stop.TIME
            # min_steps and min_epochs hold back early stopping only: a node that must go does not wait for them.
            trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps = None, None
            # Lightning would validate before it leaves, and a node that goes has its grace for the checkpoint only.
            trainer.limit_val_batches = 0
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """The last step is no stop, whatever came with it; what stops without a wish of ours is early stopping."""
        total = pl_module.total_steps
        if total is not None and trainer.global_step >= total and self.stop is not Stop.REQUEST:
            self.stop = Stop.END
        elif trainer.should_stop and self.stop is Stop.END:
            self.stop = Stop.EARLY
