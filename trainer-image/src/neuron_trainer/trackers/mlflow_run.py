"""A run on an MLflow server, by its own client."""

import logging
import math
import os
from typing import Any, Final

from neuron_api import contract
from neuron_api.config import TrainingConfig

from .background import Point, parameters

_TAG: Final = "neuron_training.run"
"""Tag with the id of the log directory's run, by which a later start finds the run again."""
_BATCH: Final = 100
"""Parameters of one request; MLflow takes no more."""
_LIMITS: Final = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
"""We try again ourselves; MLflow's own seven times two minutes would hold the thread at the end of a run."""


class MlflowRun:
    """See `TrackerRun`."""

    @property
    def name(self) -> str:
        """See `TrackerRun`."""
        return "MLflow"

    def __init__(self, config: TrainingConfig, run_id: str) -> None:
        """`run_id`: of the log directory's run."""
        arguments = config.exp_manager.mlflow_logger_kwargs or {}
        self._config, self._own_id, self._arguments = config, run_id, arguments
        self._prefix = f"{arguments['prefix']}-" if arguments.get("prefix") else ""
        self._client: Any = None
        self._run = ""

    def open(self) -> None:
        """See `TrackerRun`."""
        for name, value in _LIMITS.items():
            os.environ.setdefault(name, value)
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # a warning of ours says it once
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=self._arguments.get("tracking_uri"))
        experiment = self._experiment()
        run = self._arguments.get("run_id") or self._earlier(experiment)
        if run:
            self._run = str(run)
            self._client.update_run(self._run, status="RUNNING")
            return
        name = self._arguments.get("run_name") or os.environ.get(contract.ENV_JOB_NAME) or self._config.name
        tags = {**(self._arguments.get("tags") or {}), _TAG: self._own_id}
        self._run = self._client.create_run(experiment, tags=tags, run_name=name).info.run_id
        self._send_parameters()

    def send(self, point: Point) -> None:
        """See `TrackerRun`; a step that is done again has two values there, the newer one later."""
        from mlflow.entities import Metric

        moment = int(point.time * 1000)
        values = {f"{self._prefix}{name}": value for name, value in point.values.items() if not math.isnan(value)}
        self._client.log_batch(
            self._run, metrics=[Metric(name, value, moment, point.step) for name, value in values.items()]
        )

    def close(self, *, succeeded: bool) -> None:
        """See `TrackerRun`."""
        self._client.set_terminated(self._run, status="FINISHED" if succeeded else "FAILED")

    def _experiment(self) -> str:
        name = self._arguments.get("experiment_name") or self._config.name
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        return str(self._client.create_experiment(name, self._arguments.get("artifact_location")))

    def _earlier(self, experiment: str) -> str | None:
        runs = self._client.search_runs([experiment], f"tags.`{_TAG}` = '{self._own_id}'", max_results=1)
        return runs[0].info.run_id if runs else None

    def _send_parameters(self) -> None:
        from mlflow.entities import Param

        every = [Param(key, value) for key, value in parameters(self._config).items()]
        for first in range(0, len(every), _BATCH):
            self._client.log_batch(self._run, params=every[first : first + _BATCH])
