"""Trackers of experiments: MLflow and Weights & Biases get what TensorBoard shows, from global rank 0.

A tracker never stops or slows training (`background`). A run that is resumed goes on in the same run there, found
by the id in `run.json`.
"""

import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding, error

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

MLFLOW_URI: Final = "MLFLOW_TRACKING_URI"
_EXTRA: Final = "Build the image with the extra `trackers` (docs/tasks/track-experiments.md), or set it to False."


def loggers(config: TrainingConfig, folder: Path, run_id: str) -> "list[Logger]":
    """Return a logger for each tracker of the configuration; nothing has been sent when it returns."""
    manager = config.exp_manager
    if not (manager.create_mlflow_logger or manager.create_wandb_logger):
        return []
    from . import mlflow_run, wandb_run
    from .logger import TrackerLogger

    made = []
    if manager.create_mlflow_logger:
        made.append(TrackerLogger(mlflow_run.MlflowRun(config, run_id or str(folder))))
    if manager.create_wandb_logger:
        made.append(TrackerLogger(wandb_run.WandbRun(config, folder, run_id)))
    return made


def lost(every: "Sequence[Logger]") -> int | None:
    """Return how many logged steps trackers did not take; None without a tracker."""
    counts = [count for logger in every if (count := getattr(logger, "untracked", None)) is not None]
    return sum(counts) if counts else None


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Check that a tracker's library and its address are there: without them nothing would ever be tracked."""
    manager = config.exp_manager
    if manager.create_mlflow_logger:
        key = "exp_manager.create_mlflow_logger"
        if find_spec("mlflow") is None:
            yield error(key, "this image has no mlflow.", _EXTRA)
        elif not (os.environ.get(MLFLOW_URI) or (manager.mlflow_logger_kwargs or {}).get("tracking_uri")):
            remedy = f"Set {MLFLOW_URI} in spec.podTemplate, or exp_manager.mlflow_logger_kwargs.tracking_uri."
            yield error(key, "it is not known where the MLflow server is.", remedy)
    if manager.create_wandb_logger:
        key = "exp_manager.create_wandb_logger"
        if find_spec("wandb") is None:
            yield error(key, "this image has no wandb.", _EXTRA)
        elif not (os.environ.get("WANDB_API_KEY") or _is_offline(config)):
            remedy = "Take WANDB_API_KEY from a Secret in spec.podTemplate, or set WANDB_MODE=offline there."
            yield error(key, "there is no key for Weights & Biases.", remedy)


def _is_offline(config: TrainingConfig) -> bool:
    offline = (config.exp_manager.wandb_logger_kwargs or {}).get("offline")
    return bool(offline) or os.environ.get("WANDB_MODE") in ("offline", "disabled")
