"""A run of Weights & Biases, by its own library."""

import os
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from neuron_api import contract, redaction
from neuron_api.config import TrainingConfig

from .background import Point
from .parameters import parameters

_STEP: Final = "global_step"
"""The axis. W&B's own step may not go back, as it does where steps are done again."""
_INIT_SECONDS: Final = 60.0


class WandbRun:
    """See `TrackerRun`."""

    @property
    def name(self) -> str:
        """See `TrackerRun`."""
        return "Weights & Biases"

    @property
    def max_values(self) -> int:
        """Return 1, so a step at a time: the library gathers by itself, and cannot take back what it has."""
        return 1

    def __init__(self, config: TrainingConfig, folder: Path, run_id: str) -> None:
        """`folder`: the log directory; `run_id`: of its run."""
        arguments = config.exp_manager.wandb_logger_kwargs or {}
        self._config, self._folder, self._arguments = config, folder, arguments
        self._id = arguments.get("id") or run_id or sha256(str(folder).encode()).hexdigest()[:16]
        self._prefix = f"{arguments['prefix']}-" if arguments.get("prefix") else ""
        self._run: Any = None

    def open(self) -> None:
        """See `TrackerRun`."""
        import wandb

        sys.argv[1:] = map(redaction.argument, sys.argv[1:])  # W&B sends the command line of the process along
        arguments = self._arguments
        passed = {key: arguments[key] for key in ("entity", "group", "job_type", "tags", "notes") if key in arguments}
        self._run = wandb.init(
            project=arguments.get("project") or self._config.name,
            name=arguments.get("name") or os.environ.get(contract.ENV_JOB_NAME) or self._config.name,
            id=self._id,
            resume="allow",
            dir=str(arguments.get("save_dir") or self._folder),
            mode="offline" if arguments.get("offline") else None,
            config=parameters(self._config),
            settings=wandb.Settings(init_timeout=_INIT_SECONDS, silent=True, console="off"),
            **passed,
        )
        self._run.define_metric(_STEP)
        self._run.define_metric("*", step_metric=_STEP)

    def send(self, points: Sequence[Point]) -> None:
        """See `TrackerRun`."""
        for point in points:
            values = {f"{self._prefix}{name}": value for name, value in point.values.items()}
            self._run.log({**values, _STEP: point.step})

    def close(self, *, succeeded: bool) -> None:
        """See `TrackerRun`."""
        self._run.finish(exit_code=0 if succeeded else 1)
