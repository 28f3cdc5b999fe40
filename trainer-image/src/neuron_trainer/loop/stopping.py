"""Ends that come before the last step: a node must go, the time is over, or a metric no longer improves."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping

from neuron_api.config import ExpManagerConfig
from neuron_trainer.ipc import signals

from .module import TrainingModule

_EARLY: Final[Mapping[str, Any]] = {
    "monitor": "val_loss",
    "mode": "min",
    "min_delta": 0.001,
    "patience": 10,
    "verbose": True,
}
"""NeMo's defaults (`EarlyStoppingParams`), where they differ from Lightning's."""


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
        """Lightning has just installed a handler of its own."""
        signals.outlive_termination()

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


class _EarlyStopping(EarlyStopping):  # type: ignore[misc]
    """Takes what it has counted from a checkpoint, and the patience from the file."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})


def early_stopping(manager: ExpManagerConfig) -> list[EarlyStopping]:
    """Lightning's callback, where it is asked for."""
    if not manager.create_early_stopping_callback:
        return []
    return [_EarlyStopping(**{**_EARLY, **(manager.early_stopping_callback_params or {})})]
