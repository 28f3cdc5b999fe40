"""What a node reports, and serves on its port, whatever its workers are doing."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bounds import BOUND
from neuron_api.resource import progress
from neuron_api.resource.progress import (
    CheckpointReport,
    CompileReport,
    PassReport,
    ProcessFailure,
    Progress,
    Recovery,
    TrainerPhase,
)
from neuron_trainer.ipc.worker_channel import WorkerChannel
from neuron_trainer.launcher.node import NodeIdentity
from neuron_trainer.launcher.server import Server
from neuron_trainer.launcher.status import Status
from neuron_trainer.launcher.termination import last_sentence
from neuron_trainer.worker import WorkerOutcome

from .conftest import alone, typed
from .test_node import POD

NOW = datetime.now(UTC)


@pytest.fixture
def handoff(tmp_path: Path) -> WorkerChannel:
    (tmp_path / "handoff").mkdir()
    return WorkerChannel(tmp_path / "handoff")


@pytest.fixture
def status(handoff: WorkerChannel, tiny: Path, tmp_path: Path) -> Status:
    node = NodeIdentity.from_environment(typed(alone(tiny, tmp_path)), POD)
    return Status(node, handoff, max_steps=100, log_dir="/log", config_hash="h")


@pytest.fixture
def url(status: Status) -> Iterator[str]:
    server = Server(status.report, "127.0.0.1", 0)
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.close()


def get(address: str) -> tuple[str, str]:
    with urllib.request.urlopen(address, timeout=BOUND) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def worker(round: int, **changes: object) -> Progress:
    return Progress(round=round, phase=TrainerPhase.TRAINING, step=7, loss=1.5).model_copy(update=changes)


def test_before_any_worker_the_launcher_speaks(status: Status) -> None:
    report = status.report()
    assert (report.phase, report.step, report.max_steps, report.node_rank) == (TrainerPhase.STARTING, 0, 100, 3)


def test_a_worker_that_loads_is_replaced_by_what_it_says(status: Status, handoff: WorkerChannel) -> None:
    status.set(phase=TrainerPhase.LOADING, round=0)
    assert status.report().phase is TrainerPhase.LOADING
    handoff.write_progress(worker(round=0))
    assert (status.report().phase, status.report().step, status.report().loss) == (TrainerPhase.TRAINING, 7, 1.5)
    assert status.worker_phase is TrainerPhase.TRAINING


def test_a_report_of_the_round_before_does_not_tell_where_this_one_is(status: Status, handoff: WorkerChannel) -> None:
    handoff.write_progress(worker(round=0))
    status.set(phase=TrainerPhase.LOADING, round=1)
    assert status.report().phase is TrainerPhase.LOADING
    assert status.worker_phase is TrainerPhase.LOADING
    assert status.report().step == 7, "the newest finished step is known all the time"


def test_the_launcher_waits_in_rendezvous_whatever_the_workers_said(status: Status, handoff: WorkerChannel) -> None:
    handoff.write_progress(worker(round=0))
    status.set(phase=TrainerPhase.RENDEZVOUS)
    assert status.report().phase is TrainerPhase.RENDEZVOUS


def test_checkpoint_and_recoveries_are_remembered_over_rounds(status: Status, handoff: WorkerChannel) -> None:
    saved = CheckpointReport(step=5, path="/log/x", time=NOW)
    first = Recovery(round=1, resumed_from_step=5, steps_lost=2)
    handoff.write_progress(worker(round=1, checkpoint=saved, recoveries=(first,)))
    status.report()
    second = Recovery(round=2, resumed_from_step=5, steps_lost=0)
    handoff.write_progress(worker(round=2, recoveries=(second,)))
    assert status.report().checkpoint == saved
    assert status.report().recoveries == (first, second)


def test_what_is_new_ends_the_idle_time(
    status: Status, handoff: WorkerChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("neuron_trainer.launcher.status.time.monotonic", lambda: clock[0])

    def idle(seconds: float) -> float | None:
        clock[0] += seconds
        return status.report().idle_seconds

    assert idle(0) == 0
    status.set(phase=TrainerPhase.LOADING, round=0)
    assert [idle(5), idle(7)] == [0, 7]
    handoff.write_progress(worker(round=0))
    assert [idle(1), idle(2), idle(3)] == [0, 2, 5]
    handoff.write_progress(worker(round=0, loss=9.0))
    assert idle(1) == 6, "a number without a step is nothing new"
    for news in (
        {"step": 8},
        {"step": 8, "phase": TrainerPhase.SAVING},
        {"step": 8, "checkpoint": CheckpointReport(step=8, path="/log/x", time=NOW)},
        {"step": 8, "reference": PassReport(done=16, total=64, time=NOW)},
        {"step": 8, "reference": PassReport(done=32, total=64, time=NOW)},
    ):
        handoff.write_progress(worker(round=0, **news))
        assert [idle(1), idle(4)] == [0, 4]


def test_of_many_failures_the_newest_are_kept(status: Status) -> None:
    for number in range(40):
        status.add_failure(ProcessFailure(time=NOW, round=number, rank=0, local_rank=0, exit_code=1))
    assert [failure.round for failure in status.report().failures] == list(range(8, 40))


def test_progress_is_served_as_the_contract_says(url: str, handoff: WorkerChannel, status: Status) -> None:
    status.set(phase=TrainerPhase.LOADING)
    handoff.write_progress(worker(round=0))
    kind, body = get(f"{url}/progress")
    assert kind == "application/json"
    assert json.loads(body)["nodeRank"] == 3
    now = status.report()
    moments = {"idle_seconds": now.idle_seconds, "time_spent": now.time_spent}
    assert progress.from_json(body).model_copy(update=moments) == now


def test_metrics_are_prometheus_text_of_the_same_numbers(url: str, handoff: WorkerChannel, status: Status) -> None:
    recovery = Recovery(round=1, resumed_from_step=5, steps_lost=2)
    saved = CheckpointReport(step=5, path="/log/x", time=NOW)
    metrics = {"rewards_accuracy": 0.75, "nll": None}
    records = {"train": {"records": 9, "dropped": 2}, "validation": {"records": 3}}
    report = worker(round=0, recoveries=(recovery,), checkpoint=saved, metrics=metrics, records=records)
    handoff.write_progress(report)
    status.add_failure(ProcessFailure(time=NOW, round=0, rank=0, local_rank=0, exit_code=1))
    kind, body = get(f"{url}/metrics")
    assert kind.startswith("text/plain; version=")
    samples = [sample for family in text_string_to_metric_families(body) for sample in family.samples]
    assert {(sample.labels["part"], sample.labels["kind"], sample.value) for sample in samples if sample.labels} == {
        ("train", "records", 9), ("train", "dropped", 2), ("validation", "records", 3),
    }  # fmt: skip
    assert {sample.name: sample.value for sample in samples if not sample.labels} == {
        "neuron_trainer_step": 7,
        "neuron_trainer_max_steps": 100,
        "neuron_trainer_loss": 1.5,
        "neuron_trainer_rewards_accuracy": 0.75,
        "neuron_trainer_checkpoint_step": 5,
        "neuron_trainer_process_failures_total": 1,
        "neuron_trainer_recoveries_total": 1,
        "neuron_trainer_steps_lost_total": 2,
    }


def test_health_is_answered_and_other_paths_are_not(url: str) -> None:
    assert get(f"{url}/healthz") == ("text/plain", "ok\n")
    with pytest.raises(urllib.error.HTTPError) as problem:
        get(f"{url}/other")
    assert problem.value.code == 404
    problem.value.close()


@pytest.mark.parametrize(("outcome", "words"), [
    (WorkerOutcome.FINISHED, ["training has ended at step 11 of 155"]),
    (WorkerOutcome.STOPPED_EARLY, ["early stopping ended the training at step 11 of 155"]),
    (WorkerOutcome.OUT_OF_TIME, ["max_time is over at step 11 of 155", "has not ended", "resume_if_exists", "/log"]),
])  # fmt: skip
def test_the_last_line_says_whether_there_is_more_to_do(
    outcome: WorkerOutcome, words: list[str], status: Status, handoff: WorkerChannel
) -> None:
    """Bounds by epochs: the processes know how many steps that are (Lightning#19617)."""
    handoff.write_progress(Progress(step=11, max_steps=155))
    text = last_sentence({outcome.value}, status.report(), Path("/log"))
    assert all(word in text for word in words)


def test_the_compile_phase_is_reported_beside_what_training_says(status: Status, handoff: WorkerChannel) -> None:
    """Training replaces the workers' report, and the phase may be over before anybody has asked."""
    status.set(phase=TrainerPhase.LOADING, round=0)
    assert status.report().compilation is None
    phase = CompileReport(part="training step", done=3, expected=4, compiled=3, since=NOW, time=NOW)
    handoff.write_compilation(phase)
    assert (status.report().phase, status.report().compilation) == (TrainerPhase.LOADING, phase)
    handoff.write_compilation(phase.model_copy(update={"complete": True}))
    handoff.write_progress(worker(round=0))
    report = status.report()
    assert report.phase is TrainerPhase.TRAINING and report.compilation is not None and report.compilation.complete


def test_each_graph_is_news(status: Status, handoff: WorkerChannel, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("neuron_trainer.launcher.status.time.monotonic", lambda: clock[0])
    phase = CompileReport(done=3, since=NOW, time=NOW)
    handoff.write_compilation(phase)
    status.report()
    clock[0] = 50.0
    assert status.report().idle_seconds == 50.0
    handoff.write_compilation(phase.model_copy(update={"done": 4}))
    assert status.report().idle_seconds == 0.0
