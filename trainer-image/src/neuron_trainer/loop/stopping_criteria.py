"""Ends that come before the last step: the time on the clock, and a metric that no longer improves."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from lightning.pytorch.callbacks import EarlyStopping

from neuron_api.config import ExpManagerConfig
from neuron_api.derive.steps import seconds_of

_EARLY: Final[Mapping[str, Any]] = {
    "monitor": "val_loss", "mode": "min", "min_delta": 0.001, "patience": 10, "verbose": True,
}  # fmt: skip
"""NeMo's defaults (`EarlyStoppingParams`), where they differ from Lightning's."""


class TimeLimit:
    """`trainer.max_time`: counted anew by each start, from the moment when training begins (B-15)."""

    def __init__(self, limit: str | Mapping[str, int] | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds_of(limit), clock
        self._until: float | None = None

    def begin(self) -> None:
        """Training begins now."""
        if self._seconds is not None:
            self._until = self._clock() + self._seconds

    @property
    def is_over(self) -> bool:
        """By this process's clock; the step makes one answer of all."""
        return self._until is not None and self._clock() >= self._until


class _EarlyStopping(EarlyStopping):  # type: ignore[misc]
    """Takes what it has counted from a checkpoint, and the patience from the file."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})


def early_stopping(manager: ExpManagerConfig) -> list[EarlyStopping]:
    """Lightning's callback, where it is asked for."""
    if not manager.create_early_stopping_callback:
        return []
    return [_EarlyStopping(**{**_EARLY, **(manager.early_stopping_callback_params or {})})]
