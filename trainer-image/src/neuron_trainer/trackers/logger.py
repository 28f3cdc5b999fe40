"""A tracker as one of Lightning's loggers: what TensorBoard gets, it gets."""

import os
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import Logger

from neuron_api import contract

from .background import CLOSE_SECONDS, BackgroundTracker, TrackerRun


def _wait() -> float:
    """Return the seconds of the environment; what is no number there is not worth a run."""
    try:
        return float(os.environ[contract.ENV_TRACKER_WAIT])
    except (KeyError, ValueError):
        return CLOSE_SECONDS


class TrackerLogger(Logger):  # type: ignore[misc]
    """Hands over, and nothing else; on global rank 0 alone, as every logger of ours."""

    def __init__(self, run: TrackerRun, tracker: BackgroundTracker | None = None) -> None:
        super().__init__()
        self._name, self._tracker = run.name, tracker or BackgroundTracker(run, close_seconds=_wait())

    @property
    def name(self) -> str:
        """Return the tracker's name."""
        return self._name

    @property
    def version(self) -> str:
        """Return nothing: directories of ours have no part of a tracker's."""
        return ""

    @property
    def untracked(self) -> int:
        """Return how many logged steps the tracker did not take."""
        return self._tracker.lost

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Hand over one step."""
        values = {name: float(value) for name, value in metrics.items()}
        self._tracker.hand_over(step if step is not None else int(values.get("global_step", 0)), values)

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing: the run has the configuration from its beginning."""

    def finalize(self, status: str) -> None:
        """Send what is left; called by Lightning at the end, also of a run that has failed."""
        self._tracker.close(succeeded=status == "success")
