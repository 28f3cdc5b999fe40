"""An interrupted run equals the unbroken one bit for bit, whoever dies; and says afterwards what it cost."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from neuron_api import contract, timeline
from neuron_api.contract import ExitCode
from neuron_api.resource.progress import Progress, TrainerPhase
from neuron_trainer.metrics.timeline import timeline_file

from .nodes import Gang, Launcher, is_alive, kill_worker, last_step, metrics, numbers, until, workers
from .tiny import config, write_config

pytestmark = pytest.mark.distributed

STEPS = 22
KILL_AFTER = 7
"""A checkpoint is written every 5 steps: at 7 there is one, and at least a step to be done again."""
PHASES = [
    "shutdown", "rendezvous", "checkpoint_find", "worker_start", "groups", "model_build", "data_seek",
    "checkpoint_load", "first_batch", "first_step",
]  # fmt: skip
Numbers = dict[int, tuple[float, ...]]
Record = Callable[[str, object], None]


def _write(tiny: Path, folder: Path) -> Path:
    return write_config(folder / "config.yaml", config(tiny, folder / "log", trainer__max_steps=STEPS))


@contextmanager
def _training(tiny: Path, folder: Path) -> Iterator[tuple[Gang, list[Launcher]]]:
    """Two nodes of two ranks each, past the first checkpoint."""
    with Gang(folder, _write(tiny, folder), num_nodes=2) as gang:
        launchers = gang.start_all()
        until("a step after the first checkpoint", lambda: last_step(folder / "log") >= KILL_AFTER or None, gang=gang)
        yield gang, launchers


def _finished(gang: Gang, launchers: list[Launcher], log_dir: Path, unbroken: Numbers) -> None:
    """All end well, and every step is there once with the numbers of the unbroken run."""
    assert [launcher.wait() for launcher in launchers] == [ExitCode.SUCCESS] * len(launchers), gang.logs()
    assert [line["step"] for line in metrics(log_dir)] == list(range(1, STEPS + 1)), gang.logs()
    assert numbers(log_dir) == unbroken, gang.logs()


@pytest.fixture(scope="session")
def unbroken(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Numbers:
    """The numbers of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("unbroken")
    with Gang(folder, _write(tiny, folder), num_nodes=2) as gang:
        assert [launcher.wait() for launcher in gang.start_all()] == [0, 0], gang.logs()
    return numbers(folder / "log")


def _back(
    gang: Gang,
    launcher: Launcher,
    what: str,
    since: float,
    record: Record,
    *,
    recoveries: int = 1,
    serving: Sequence[Launcher] = (),
) -> Progress:
    """Wait for the first step after the resume; its time since the loss goes into the test report (--junitxml).

    `serving` are those that must answer all the while.
    """

    def recovered() -> Progress | None:
        for one in serving:
            assert one.get(contract.HEALTH_PATH) == b"ok\n"
            assert b"neuron_trainer_step " in (one.get(contract.METRICS_PATH) or b"")
            assert one.report() is not None
        report = launcher.report()
        found = report.recoveries if report else ()
        return report if len(found) == recoveries and found[-1].first_step_time else None

    report = until("the first step after the resume", recovered, gang=gang)
    first = report.recoveries[-1].first_step_time
    assert first is not None
    record(f"seconds from {what} to the first step", round(first.timestamp() - since, 2))
    return report


def _all_seconds_have_a_name(log_dir: Path, wall: float) -> None:
    """The timeline has no gap, and says what was done again; `wall`: the seconds that the launchers may have taken."""
    line = timeline_file.read_run(log_dir)
    seconds = timeline.total(line)
    assert sum(seconds.values()) == pytest.approx(line[-1].end - line[0].begin, abs=1e-3)
    assert 0.9 * wall <= sum(seconds.values()) <= wall
    assert {"start", "rendezvous", "load", "step", "save", "rework"} <= seconds.keys()
    assert line[-1].step == STEPS


def test_a_killed_rank_restarts_inside_its_pod(
    tiny: Path, tmp_path: Path, unbroken: Numbers, record_testsuite_property: Record
) -> None:
    began = time.time()
    with _training(tiny, tmp_path) as (gang, (zero, one)):
        before = {launcher.rank: workers(launcher) for launcher in (zero, one)}
        killed, pid = time.time(), kill_worker(one)
        report = _back(gang, zero, "the kill of a rank", killed, record_testsuite_property, serving=(zero, one))
        assert (report.phase, report.round) == (TrainerPhase.TRAINING, 1)
        recovery = report.recoveries[-1]
        assert recovery.resumed_from_step >= 5
        assert list(recovery.phases) == PHASES
        assert recovery.first_step_time is not None
        assert 0.9 * sum(recovery.phases.values()) <= recovery.first_step_time.timestamp() - killed
        assert not {pid, *before[0]} & {*workers(zero), *workers(one)}, "every rank starts anew"
        failure = until("the failure in the report of its node", lambda: (one.report() or Progress()).failures)[0]
        assert (failure.exit_code, failure.rank, failure.local_rank) == (-signal.SIGKILL, 3, 1)
        _finished(gang, [zero, one], tmp_path / "log", unbroken)
        _all_seconds_have_a_name(tmp_path / "log", time.time() - began)
        first, second = [line for line in zero.log.read_text().splitlines() if "first step done" in line]
        assert all(phase in first for phase in ("process_start", "imports", "preflight", "rendezvous", "first_batch"))
        assert "(shutdown" in second, "a restart in place begins where the loss is noticed"
        assert "checkpoint_load" in second
        assert "imports" not in second


def test_a_lost_node_is_replaced_alone(
    tiny: Path, tmp_path: Path, unbroken: Numbers, record_testsuite_property: Record
) -> None:
    with _training(tiny, tmp_path) as (gang, (zero, one)):
        ranks, killed = workers(one), time.time()
        one.kill()
        until("the ranks to die with their launcher", lambda: not any(map(is_alive, ranks)))
        replacement = gang.start(1)
        _back(gang, zero, "the loss of node 1", killed, record_testsuite_property)
        assert not (zero.report() or Progress()).failures, "the loss of a peer is no failure of this node"
        _finished(gang, [zero, replacement], tmp_path / "log", unbroken)


def test_the_node_with_the_rendezvous_store_is_replaced_alone(
    tiny: Path, tmp_path: Path, unbroken: Numbers, record_testsuite_property: Record
) -> None:
    with _training(tiny, tmp_path) as (gang, (zero, one)):
        killed = time.time()
        zero.kill()
        replacement = gang.start(0)
        report = _back(gang, replacement, "the loss of node 0", killed, record_testsuite_property)
        assert report.recoveries[-1].resumed_from_step >= 5
        _finished(gang, [replacement, one], tmp_path / "log", unbroken)


def test_a_node_that_is_asked_to_go_saves_first_also_after_a_restart(
    tiny: Path, tmp_path: Path, unbroken: Numbers, record_testsuite_property: Record
) -> None:
    with _training(tiny, tmp_path) as (gang, (zero, one)):
        kill_worker(zero)
        _back(gang, zero, "the kill of rank 1", time.time(), record_testsuite_property)
        asked = time.time()
        os.killpg(one.process.pid, signal.SIGTERM)  # as timeout(1), systemd and Slurm do: all its processes get it
        assert one.wait() == ExitCode.PREEMPTED, gang.logs()
        saved = last_step(tmp_path / "log")
        replacement = gang.start(1)
        report = _back(gang, zero, "SIGTERM", asked, record_testsuite_property, recoveries=2)
        assert report.recoveries[-1].resumed_from_step == saved
        assert report.recoveries[-1].steps_lost == 0
        _finished(gang, [zero, replacement], tmp_path / "log", unbroken)
