"""Stand-ins for the libraries of MLflow and W&B, which enforce what the real ones do as far as we use them.

What they do not prove: the libraries' own behaviour. `make test-trackers` runs the same against the real ones.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@dataclass
class FakeServer:
    """An MLflow server: experiments by name, runs by id. It refuses what MLflow refuses."""

    experiments: dict[str, str] = field(default_factory=dict)
    runs: dict[str, SimpleNamespace] = field(default_factory=dict)
    is_down: bool = False
    calls: int = 0
    uris: set[str | None] = field(default_factory=set)
    batches: list[int] = field(default_factory=list)
    """Metrics of each request that had any."""
    answers: list[Exception] = field(default_factory=list)
    """Raised in place of taking parameters, one a request."""

    def reach(self) -> None:
        self.calls += 1
        if self.is_down:
            raise ConnectionError("Max retries exceeded\nwith url: /api")


class MlflowException(Exception):
    """As MLflow's: its client raises it, and it carries the server's code."""

    def __init__(self, message: str, error_code: str = "INTERNAL_ERROR") -> None:
        super().__init__(message)
        self.error_code = error_code


class _Client:
    server: FakeServer

    def __init__(self, tracking_uri: str | None = None) -> None:
        self.server.uris.add(tracking_uri)

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        self.server.reach()
        number = self.server.experiments.get(name)
        return None if number is None else SimpleNamespace(experiment_id=number)

    def create_experiment(self, name: str, artifact_location: str | None = None) -> str:
        self.server.reach()
        assert name not in self.server.experiments
        return self.server.experiments.setdefault(name, str(len(self.server.experiments) + 1))

    def search_runs(self, experiments: Sequence[str], text: str, max_results: int) -> list[SimpleNamespace]:
        self.server.reach()
        key, value = text.removeprefix("tags.`").removesuffix("'").split("` = '")
        return [
            run for run in self.server.runs.values() if run.experiment in experiments and run.tags.get(key) == value
        ][:max_results]

    def create_run(self, experiment: str, tags: Mapping[str, str], run_name: str) -> SimpleNamespace:
        self.server.reach()
        assert experiment in self.server.experiments.values()
        assert all(isinstance(value, str) for value in tags.values())
        number = f"run{len(self.server.runs)}"
        self.server.runs[number] = SimpleNamespace(
            info=SimpleNamespace(run_id=number, status="RUNNING"), data=SimpleNamespace(params={}),
            experiment=experiment, tags=dict(tags), name=run_name, metrics=[],
        )  # fmt: skip
        return self.server.runs[number]

    def get_run(self, run: str) -> SimpleNamespace:
        self.server.reach()
        return self.server.runs[run]

    def update_run(self, run: str, status: str) -> None:
        self.server.reach()
        self.server.runs[run].info.status = status

    def log_batch(self, run: str, metrics: Sequence[Any] = (), params: Sequence[Any] = ()) -> None:
        self.server.reach()
        stored = self.server.runs[run]
        assert len(params) <= 100 and len(metrics) <= 1000
        if params and self.server.answers:
            raise self.server.answers.pop(0)
        assert all(len(param.value) <= 500 and param.key not in stored.data.params for param in params)
        assert all(isinstance(metric.timestamp, int) and metric.value == metric.value for metric in metrics)
        if wrong := [metric.key for metric in metrics if ":" in metric.key]:
            raise MlflowException(f"Invalid metric name: {wrong[0]!r}", "INVALID_PARAMETER_VALUE")
        self.server.batches += [len(metrics)] if metrics else []
        stored.metrics += [(metric.key, metric.value, metric.step) for metric in metrics]
        stored.data.params |= {param.key: param.value for param in params}

    def set_terminated(self, run: str, status: str) -> None:
        self.server.reach()
        assert self.server.runs[run].info.status == "RUNNING"
        self.server.runs[run].info.status = status


def install_mlflow(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    """Put the stand-in where `import mlflow` finds it."""
    server = FakeServer()
    module, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    exceptions = ModuleType("mlflow.exceptions")
    exceptions.MlflowException = MlflowException  # type: ignore[attr-defined]
    module.MlflowClient = type("MlflowClient", (_Client,), {"server": server})  # type: ignore[attr-defined]
    entities.Metric = lambda *values: SimpleNamespace(  # type: ignore[attr-defined]
        **dict(zip(("key", "value", "timestamp", "step"), values, strict=True))
    )
    entities.Param = lambda key, value: SimpleNamespace(key=key, value=value)  # type: ignore[attr-defined]
    module.__spec__ = SimpleNamespace(name="mlflow")  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.setitem(sys.modules, "mlflow.exceptions", exceptions)
    return server


class FakeWandb(ModuleType):
    """W&B: `init` begins a run or goes on with the one of that id; a finished run takes nothing."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.runs: dict[str, SimpleNamespace] = {}
        self.__spec__ = SimpleNamespace(name="wandb")  # type: ignore[assignment]

    def Settings(self, **values: Any) -> SimpleNamespace:
        assert values.keys() <= {"init_timeout", "silent", "console"}
        return SimpleNamespace(**values)

    def init(self, *, id: str, resume: str, settings: Any, **values: Any) -> SimpleNamespace:
        assert resume == "allow"
        known = {"project", "name", "dir", "mode", "config", "entity", "group", "job_type", "tags", "notes"}
        assert values.keys() <= known
        run = self.runs.setdefault(id, SimpleNamespace(history=[], axes={}, ends=[], begins=[]))
        run.begins.append(values)
        assert len(run.begins) == len(run.ends) + 1, "it was begun twice"

        def log(values: Mapping[str, float]) -> None:
            assert len(run.begins) == len(run.ends) + 1, "it is finished"
            run.history.append(dict(values))

        def define_metric(name: str, step_metric: str | None = None) -> None:
            run.axes[name] = step_metric

        return SimpleNamespace(
            log=log, define_metric=define_metric, finish=lambda *, exit_code: run.ends.append(exit_code)
        )


def install_wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    """Put the stand-in where `import wandb` finds it."""
    module = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module
