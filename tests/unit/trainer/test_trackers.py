"""MLflow and W&B: what is sent, once, by one process, to the same run after a resume; and a tracker that is down, slow
or wrong never stops or slows training. The libraries are stand-ins here; tests/trackers has the real ones."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bounds import BOUND
from neuron_api import contract
from neuron_api.findings.finding import Finding
from neuron_trainer import trackers
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.trackers.background import BackgroundTracker, Point, parameters
from tracker_doubles import FakeServer, FakeWandb, install_mlflow, install_wandb

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
    assert (run.status, run.name) == ("FINISHED", "tiny")
    assert [step for key, _, step in run.metrics if key == "reduced_train_loss"] == [1, 2, 3, 4, 5]
    assert {"lr", "consumed_samples", "tokens_per_second"} <= {key for key, _, _ in run.metrics}
    assert run.params["trainer.max_steps"] == "3"
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
    assert (run.name, run.tags["team"], run.metrics, run.status) == ("r", "a", [("p-loss", 2.0, 7)], "FAILED")
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


class Story:
    """A tracker that does what a test says; it must never be called by two threads."""

    name = "Story"

    def __init__(self, send: Callable[[Point], None] = lambda point: None) -> None:
        self.sent: list[int] = []
        self.closed: list[bool] = []
        self.opened = 0
        self._send, self._threads = send, set[int]()

    def open(self) -> None:
        self._threads.add(threading.get_ident())
        self.opened += 1

    def send(self, point: Point) -> None:
        self._send(point)
        self.sent.append(point.step)

    def close(self, *, succeeded: bool) -> None:
        self._threads.add(threading.get_ident())
        assert len(self._threads) == 1
        self.closed.append(succeeded)


def test_a_tracker_that_is_down_gets_everything_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    is_down, failures = threading.Event(), threading.Semaphore(0)
    is_down.set()

    def send(point: Point) -> None:
        if is_down.is_set():
            failures.release()
            raise ConnectionError("refused\nby the server")

    run = Story(send)
    tracker = BackgroundTracker(run, retry_seconds=0.01)
    for step in range(1, 6):
        tracker.hand_over(step, {"loss": 1.0})
    for _ in range(3):
        assert failures.acquire(timeout=BOUND)
    is_down.clear()
    tracker.close(succeeded=True)
    assert (run.sent, run.closed, tracker.lost) == ([1, 2, 3, 4, 5], [True], 0)
    warning = "Story cannot be reached, training goes on without it: ConnectionError: refused by the server"
    assert [record.message for record in caplog.records] == [warning, "Story can be reached again"]


def test_a_tracker_that_hangs_never_holds_up_training(caplog: pytest.LogCaptureFixture) -> None:
    is_released, begun = threading.Event(), threading.Event()

    def send(point: Point) -> None:
        begun.set()
        is_released.wait(BOUND)

    tracker = BackgroundTracker(Story(send), max_waiting=10, close_seconds=0.05)
    tracker.hand_over(0, {})
    assert begun.wait(BOUND)
    before = time.process_time()
    for step in range(1, 1001):
        tracker.hand_over(step, {"loss": 1.0})
    assert time.process_time() - before < 0.5, "a thousand steps"
    assert tracker.lost == 990
    tracker.close(succeeded=True)
    assert tracker.lost == 1000
    assert caplog.records[-1].message == "Story did not take 1000 logged steps; they are in metrics.jsonl"
    is_released.set()


def test_a_server_that_is_down_from_the_first_step_to_the_last_does_not_stop_a_run(
    tiny: Path, tmp_path: Path, one_process: None, server: FakeServer, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setenv(contract.ENV_TRACKER_WAIT, "0.1")
    server.is_down = True
    changes = {key: value for key, value in BOTH.items() if "mlflow" in key}
    folder = train(alone(tiny, tmp_path, trainer__max_steps=3, **changes))
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3
    assert server.calls > 0
    warnings = [record.message for record in caplog.records if record.name.endswith("background")]
    assert len([text for text in warnings if text.startswith("MLflow cannot be reached")]) == 1
    assert warnings[-1] == "MLflow did not take 3 logged steps; they are in metrics.jsonl"
