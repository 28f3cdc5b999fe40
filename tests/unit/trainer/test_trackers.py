"""MLflow and W&B: what is sent, once, by one process, to the same run after a resume; and a tracker that is down, slow
or wrong never stops or slows training. The libraries are stand-ins here; tests/trackers has the real ones."""

from pathlib import Path
from typing import Any

import pytest

from neuron_api import contract
from neuron_api.findings.finding import Finding
from neuron_trainer import trackers
from neuron_trainer.ipc.worker_channel import Start, WorkerChannel
from neuron_trainer.trackers.background import BackgroundTracker
from neuron_trainer.trackers.logger import TrackerLogger
from neuron_trainer.trackers.mlflow_run import MlflowRun
from neuron_trainer.trackers.parameters import parameters
from tracker_doubles import FakeServer, FakeWandb, MlflowException, install_mlflow, install_wandb

from .conftest import alone, train, typed

BOTH = {
    "exp_manager__create_mlflow_logger": True,
    "exp_manager__mlflow_logger_kwargs": {"tracking_uri": "http://127.0.0.1:1"},
    "exp_manager__create_wandb_logger": True,
    "exp_manager__wandb_logger_kwargs": {"offline": True},
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    return install_mlflow(monkeypatch)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    return install_wandb(monkeypatch)


def test_a_run_is_tracked_by_one_process_and_resumed_as_the_same_run(
    tiny: Path, tmp_path: Path, one_process: None, server: FakeServer, wandb: FakeWandb
) -> None:
    values = alone(tiny, tmp_path, trainer__max_steps=3, **BOTH)
    folder = train(values, Start(0, run_id="abc"))
    (saved,) = (folder / "checkpoints").glob("*3*.ckpt")
    train({**values, "trainer": {**values["trainer"], "max_steps": 5}}, Start(0, checkpoint=str(saved), run_id="abc"))

    (run,) = server.runs.values()
    assert (run.info.status, run.name) == ("FINISHED", "tiny")
    assert [step for key, _, step in run.metrics if key == "reduced_train_loss"] == [1, 2, 3, 4, 5]
    assert {"lr", "consumed_samples", "tokens_per_second"} <= {key for key, _, _ in run.metrics}
    assert run.data.params["trainer.max_steps"] == "3"
    (other,) = wandb.runs.values()
    assert wandb.runs.keys() == {"abc"}
    assert [line["global_step"] for line in other.history] == [1, 2, 3, 4, 5]
    assert other.axes == {"global_step": None, "*": "global_step"}
    assert other.ends == [0, 0]


def test_arguments_of_a_tracker_reach_its_run(tiny: Path, tmp_path: Path, server: FakeServer, wandb: FakeWandb) -> None:
    mlflow_arguments = {
        "tracking_uri": "http://127.0.0.1:1", "experiment_name": "e", "run_name": "r", "tags": {"team": "a"},
        "prefix": "p",
    }  # fmt: skip
    wandb_arguments = {"project": "q", "name": "n", "group": "g", "tags": ["t"], "id": "own", "save_dir": "/s"}
    changes = {**BOTH, "exp_manager__mlflow_logger_kwargs": mlflow_arguments}
    changes["exp_manager__wandb_logger_kwargs"] = wandb_arguments
    for logger in trackers.loggers(typed(alone(tiny, tmp_path, **changes)), tmp_path, "abc"):
        logger.log_metrics({"loss": 2.0}, step=7)
        logger.finalize("failed")
        logger.finalize("failed")  # Lightning may say it twice
    (run,) = server.runs.values()
    assert server.experiments == {"e": "1"}
    assert server.uris == {"http://127.0.0.1:1"}
    assert (run.name, run.tags["team"], run.metrics, run.info.status) == ("r", "a", [("p-loss", 2.0, 7)], "FAILED")
    own = wandb.runs["own"]
    begun = own.begins[0]
    assert (begun["project"], begun["name"], begun["group"], begun["tags"], begun["dir"]) == (
        "q",
        "n",
        "g",
        ["t"],
        "/s",
    )
    assert (own.history, own.ends) == ([{"loss": 2.0, "global_step": 7}], [1])


def test_no_secret_is_among_the_parameters(tiny: Path, tmp_path: Path) -> None:
    changes = {**BOTH, "exp_manager__wandb_logger_kwargs": {"notes": "hidden"}}
    values = alone(tiny, tmp_path, **changes)
    values["data"]["hub_token"] = "hidden"
    values["model"]["api_key"] = "hidden"
    sent = parameters(typed(values))
    assert sent["seed"] == "7"
    assert sent["trainer.max_steps"] == "30"
    assert "hidden" not in str(sent)


def test_without_a_tracker_nothing_is_made(tiny: Path, tmp_path: Path) -> None:
    assert trackers.loggers(typed(alone(tiny, tmp_path)), tmp_path, "abc") == []
    assert trackers.lost([]) is None
    assert list(trackers.check(typed(alone(tiny, tmp_path)))) == []


@pytest.mark.parametrize(
    ("changes", "variables", "messages"),
    [
        (BOTH, {}, []),
        ({**BOTH, "exp_manager__mlflow_logger_kwargs": None}, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}, []),
        ({**BOTH, "exp_manager__mlflow_logger_kwargs": None}, {}, ["it is not known where the MLflow server is."]),
        ({**BOTH, "exp_manager__wandb_logger_kwargs": None}, {"WANDB_API_KEY": "k"}, []),
        ({**BOTH, "exp_manager__wandb_logger_kwargs": None}, {"WANDB_MODE": "offline"}, []),
        ({**BOTH, "exp_manager__wandb_logger_kwargs": None}, {}, ["there is no key for Weights & Biases."]),
    ],
)
def test_a_tracker_without_an_address_or_a_key_is_refused_before_anything_starts(
    tiny: Path, tmp_path: Path, server: FakeServer, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any], variables: dict[str, str], messages: list[str],
) -> None:  # fmt: skip
    for name in ("MLFLOW_TRACKING_URI", "WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    findings = list(trackers.check(typed(alone(tiny, tmp_path, **changes))))
    assert [finding.message for finding in findings] == messages
    assert all(finding.remedy for finding in findings)


def test_an_image_without_the_library_is_refused(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    found: list[Finding] = list(trackers.check(typed(alone(tiny, tmp_path, **BOTH))))
    assert [finding.message for finding in found] == ["this image has no mlflow.", "this image has no wandb."]
    assert "extra `trackers`" in found[0].remedy


def impatient(values: dict[str, Any]) -> TrackerLogger:
    """MLflow, which tries again at once."""
    run = MlflowRun(typed(values), "abc")
    return TrackerLogger(run, BackgroundTracker(run, retry_seconds=0.01))


def log_a_step(values: dict[str, Any]) -> None:
    logger = impatient(values)
    logger.log_metrics({"loss": 2.0}, step=1)
    logger.finalize("success")


@pytest.fixture
def tracked(tiny: Path, tmp_path: Path) -> dict[str, Any]:
    return alone(tiny, tmp_path, **{key: value for key, value in BOTH.items() if "mlflow" in key})


def test_parameters_that_a_lost_connection_swallowed_are_sent_by_the_next_attempt(
    tracked: dict[str, Any], server: FakeServer
) -> None:
    """The run was there by then, and one that is there was believed to have them."""
    server.answers = [ConnectionError("reset")]
    log_a_step(tracked)
    (run,) = server.runs.values()
    assert run.data.params == parameters(typed(tracked))
    assert (run.metrics, run.info.status) == ([("loss", 2.0, 1)], "FINISHED")


def test_a_later_start_sends_the_parameters_that_the_run_lacks(tracked: dict[str, Any], server: FakeServer) -> None:
    log_a_step(tracked)
    (run,) = server.runs.values()
    del run.data.params["seed"]
    run.data.params["trainer.max_steps"] = "as it was"
    log_a_step(tracked)
    assert (run.data.params["seed"], run.data.params["trainer.max_steps"]) == ("7", "as it was")


def test_parameters_that_are_refused_are_one_warning_and_the_steps_are_sent(
    tracked: dict[str, Any], server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = [MlflowException("too long", "INVALID_PARAMETER_VALUE")]
    log_a_step(tracked)
    (run,) = server.runs.values()
    assert (run.metrics, run.info.status) == ([("loss", 2.0, 1)], "FINISHED")
    assert [record.message for record in caplog.records if "MLflow" in record.message] == [
        "MLflow refuses the configuration as parameters of its run: too long"
    ]


def test_a_name_that_mlflow_refuses_costs_its_own_step_alone(
    tracked: dict[str, Any], server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    logger = impatient(tracked)
    logger.log_metrics({"loss": 2.0}, step=1)
    logger.log_metrics({"a:b": 2.0}, step=2)
    logger.log_metrics({"loss": 1.0}, step=3)
    logger.finalize("success")
    (run,) = server.runs.values()
    assert (run.metrics, logger.untracked) == ([("loss", 2.0, 1), ("loss", 1.0, 3)], 1)
    assert "MLflow refuses step 2: Invalid metric name: 'a:b'" in caplog.text


def test_many_steps_go_in_few_requests(tracked: dict[str, Any], server: FakeServer) -> None:
    server.is_down = True
    logger = impatient(tracked)
    for step in range(2500):
        logger.log_metrics({"loss": 2.0, "lr": 1.0}, step=step)
    server.is_down = False
    logger.finalize("success")
    assert server.batches == [1000] * 5


def test_a_server_that_is_down_from_the_first_step_to_the_last_does_not_stop_a_run(
    tiny: Path, tmp_path: Path, one_process: None, server: FakeServer, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setenv(contract.ENV_TRACKER_WAIT, "0.1")
    server.is_down = True
    changes = {key: value for key, value in BOTH.items() if "mlflow" in key}
    handoff = WorkerChannel(tmp_path)
    folder = train(alone(tiny, tmp_path, trainer__max_steps=3, **changes), handoff=handoff)
    report = handoff.read_progress()
    assert report is not None and report.untracked == 3, "what is left at the end is counted, too"
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3
    assert server.calls > 0
    warnings = [record.message for record in caplog.records if record.name.endswith("background")]
    assert len([text for text in warnings if text.startswith("MLflow cannot be reached")]) == 1
    assert warnings[-1] == "MLflow did not take 3 logged steps; they are in metrics.jsonl"
