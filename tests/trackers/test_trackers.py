"""`neuron-train run` of two processes with a real MLflow server and W&B offline: one run, also after a resume and while
the server is away; the metrics of preference training among them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bounds import BOUND
from distributed import tiny
from neuron_api import contract
from neuron_trainer.trackers import mlflow_run, wandb_run
from neuron_trainer.trackers.background import BackgroundTracker, Point

from .conftest import MlflowServer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.json").write_text(json.dumps(tiny.MODEL))
    tiny.write_rows(tmp_path / "data", rows=64)
    return tmp_path


def configuration(folder: Path, steps: int, **changes: Any) -> Path:
    """Two processes on one node; both trackers."""
    values = tiny.config(folder, folder / "run", trainer__num_nodes=1, trainer__max_steps=steps)
    values["exp_manager"] |= {
        "create_mlflow_logger": True,
        "mlflow_logger_kwargs": {"experiment_name": "tiny", "tags": {"team": "a"}},
        "create_wandb_logger": True,
        "wandb_logger_kwargs": {"project": "tiny", "offline": True},
        **changes,
    }
    return tiny.write_config(folder / "config.yaml", values)


def run(config: Path, **variables: str) -> str:
    """Train; returns what was written to the log."""
    environment = {
        **os.environ,
        "WANDB_SILENT": "true",
        "OMP_NUM_THREADS": "1",
        contract.ENV_TRACKER_WAIT: str(BOUND),
        **variables,
    }
    done = subprocess.run(
        [sys.executable, "-m", "neuron_trainer", "run", str(config)],
        capture_output=True, text=True, check=False, timeout=BOUND * 2, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def test_a_run_and_its_resume_are_one_run_of_each_tracker(folder: Path, server: MlflowServer) -> None:
    from mlflow import MlflowClient

    run(configuration(folder, 3), MLFLOW_TRACKING_URI=server.uri)
    run(configuration(folder, 5), MLFLOW_TRACKING_URI=server.uri)
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "FINISHED"
    assert tracked.data.tags["team"] == "a"
    assert tracked.data.params["trainer.max_steps"] == "3"
    history = client.get_metric_history(tracked.info.run_id, "reduced_train_loss")
    assert [metric.step for metric in history] == [1, 2, 3, 4, 5], "one process logs, each step once"
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [metric.value for metric in history] == pytest.approx([line["loss"] for line in lines])
    run_id = json.loads((folder / "run" / "run.json").read_text())["run_id"]
    assert len(list((folder / "run" / "wandb").glob(f"offline-run-*-{run_id}"))) == 2, "a directory for each start"


def test_a_server_that_comes_and_goes_gets_every_step(folder: Path, server: MlflowServer) -> None:
    from mlflow import MlflowClient

    from neuron_api.loading.loader import load_text

    loaded = load_text(configuration(folder, 3, mlflow_logger_kwargs={"tracking_uri": server.uri}).read_text())
    assert loaded.config is not None
    tracker = BackgroundTracker(mlflow_run.MlflowRun(loaded.config, "abc"), retry_seconds=0.2, close_seconds=BOUND)
    tracker.hand_over(1, {"loss": 3.0})
    server.stop()
    tracker.hand_over(2, {"loss": 2.0, "broken": float("nan")})
    server.start()
    tracker.hand_over(3, {"loss": 1.0})
    tracker.close(succeeded=True)
    client = MlflowClient(server.uri)
    (tracked,) = client.search_runs(["1"])
    assert [metric.step for metric in client.get_metric_history(tracked.info.run_id, "loss")] == [1, 2, 3]
    assert tracker.lost == 0


def test_a_run_without_its_server_ends_well_and_says_so_once(folder: Path) -> None:
    config = configuration(folder, 3, create_wandb_logger=False, wandb_logger_kwargs=None)
    log = run(config, MLFLOW_TRACKING_URI="http://127.0.0.1:1", **{contract.ENV_TRACKER_WAIT: "1"})
    assert log.count("MLflow cannot be reached, training goes on without it") == 1
    assert "MLflow did not take 3 logged steps; they are in metrics.jsonl" in log


def test_the_offline_run_of_wandb_has_every_value(folder: Path) -> None:
    from neuron_api.loading.loader import load_text

    loaded = load_text(configuration(folder, 3).read_text())
    assert loaded.config is not None
    tracker = BackgroundTracker(wandb_run.WandbRun(loaded.config, folder, "abc"), close_seconds=BOUND)
    for point in (Point(1, 0.0, {"rewards_margin": 0.5}), Point(2, 0.0, {"rewards_margin": 0.75})):
        tracker.hand_over(point.step, point.values)
    tracker.close(succeeded=True)
    (file,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    content = file.read_bytes()
    assert content.count(b"rewards_margin") >= 2
    assert b"0.5" in content
    assert b"0.75" in content
