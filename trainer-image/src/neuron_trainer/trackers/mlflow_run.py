"""A run on an MLflow server, by its own client."""

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from neuron_api import contract
from neuron_api.config import TrainingConfig

from .background import Point, RefusalError, one_line
from .parameters import parameters

log = logging.getLogger(__name__)

_TAG: Final = "neuron_training.run"
"""Tag with the id of the log directory's run, by which a later start finds the run again."""
_MAX_PARAMETERS: Final = 100
_MAX_METRICS: Final = 1000
"""Of one request; MLflow takes no more."""
_LIMITS: Final = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
"""We try again ourselves; MLflow's own seven times two minutes would hold the thread at the end of a run."""


_REFUSALS: Final = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST"})


class MlflowRun:
    """See `TrackerRun`."""

    @property
    def name(self) -> str:
        """See `TrackerRun`."""
        return "MLflow"

    @property
    def max_values(self) -> int:
        """See `TrackerRun`."""
        return _MAX_METRICS

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
        run = self._earlier(experiment) or self._created(experiment)
        self._run = run.info.run_id
        if run.info.status != "RUNNING":
            self._client.update_run(self._run, status="RUNNING")
        self._send_parameters(run.data.params)

    def send(self, points: Sequence[Point]) -> None:
        """See `TrackerRun`; a step that is done again has two values there, the newer one later."""
        from mlflow.entities import Metric

        metrics = [
            Metric(f"{self._prefix}{name}", value, int(point.time * 1000), point.step)
            for point in points
            for name, value in point.values.items()
            if not math.isnan(value)
        ]
        with _refusals():
            for first in range(0, len(metrics), _MAX_METRICS):
                self._client.log_batch(self._run, metrics=metrics[first : first + _MAX_METRICS])

    def close(self, *, succeeded: bool) -> None:
        """See `TrackerRun`."""
        self._client.set_terminated(self._run, status="FINISHED" if succeeded else "FAILED")

    def _experiment(self) -> str:
        name = self._arguments.get("experiment_name") or self._config.name
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        return str(self._client.create_experiment(name, self._arguments.get("artifact_location")))

    def _earlier(self, experiment: str) -> Any:
        """Return the run to go on with; None: there is none."""
        if run_id := self._arguments.get("run_id"):
            return self._client.get_run(str(run_id))
        runs = self._client.search_runs([experiment], f"tags.`{_TAG}` = '{self._own_id}'", max_results=1)
        return runs[0] if runs else None

    def _created(self, experiment: str) -> Any:
        name = self._arguments.get("run_name") or os.environ.get(contract.ENV_JOB_NAME) or self._config.name
        tags = {**(self._arguments.get("tags") or {}), _TAG: self._own_id}
        return self._client.create_run(experiment, tags=tags, run_name=name)

    def _send_parameters(self, present: Mapping[str, str]) -> None:
        """Send those that the run does not have: all at first, and what an attempt before this one did not send.

        A server that refuses them gets the steps nevertheless.
        """
        from mlflow.entities import Param

        missing = [Param(key, value) for key, value in parameters(self._config).items() if key not in present]
        try:
            with _refusals():
                for first in range(0, len(missing), _MAX_PARAMETERS):
                    self._client.log_batch(self._run, params=missing[first : first + _MAX_PARAMETERS])
        except RefusalError as problem:
            log.warning("MLflow refuses the configuration as parameters of its run: %s", one_line(problem))


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn what MLflow will refuse again, too, into a `RefusalError`."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as problem:
        if problem.error_code not in _REFUSALS:
            raise
        raise RefusalError(str(problem)) from problem
