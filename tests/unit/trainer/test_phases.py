"""The clock of a start runs on from the launcher into the worker."""

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from torch.distributed.elastic.agent.server.api import WorkerGroup
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent

from neuron_trainer.ipc.phases import Phases, process_start
from neuron_trainer.ipc.worker_channel import WorkerChannel
from neuron_trainer.launcher.elastic.agent import Agent
from neuron_trainer.launcher.elastic.shared_state import SharedState
from neuron_trainer.metrics.timeline.time_record import TimeRecord


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("neuron_trainer.ipc.phases.time.monotonic", lambda: now[0])
    return now


def test_a_worker_goes_on_where_its_launcher_stopped(clock: list[float]) -> None:
    launcher = Phases(90.0)
    launcher.mark("process_start")
    clock[0] += 2
    launcher.mark("imports")
    clock[0] += 1  # the fork
    worker = Phases(launcher.last, launcher.seconds)
    worker.mark("worker_start")
    assert worker.seconds == {"process_start": 10.0, "imports": 2.0, "worker_start": 1.0}
    assert (worker.total, worker.longest) == (13.0, "process_start")
    assert str(worker) == "13.00 s (process_start 10.00, imports 2.00, worker_start 1.00)"


def test_a_lap_that_comes_again_is_added_up(clock: list[float]) -> None:
    phases = Phases()
    for name in ("rendezvous", "worker_start", "rendezvous"):
        clock[0] += 1
        phases.mark(name)
    assert phases.seconds == {"rendezvous": 2.0, "worker_start": 1.0}


def test_a_restart_begins_anew(clock: list[float]) -> None:
    phases = Phases(90.0)
    phases.mark("process_start")
    clock[0] += 5
    phases.begin_again()
    clock[0] += 1
    phases.mark("shutdown")
    assert phases.seconds == {"shutdown": 1.0}


def test_the_process_began_before_its_first_instruction() -> None:
    program = (
        "import time; t = time.monotonic(); from neuron_trainer.ipc.phases import process_start; "
        "print(t, process_start())"
    )
    before = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, began = map(float, done.stdout.split())
    assert before - 0.02 <= began <= first, "the kernel counts in hundredths of a second"
    assert process_start() < before


def test_a_restart_that_torch_decides_on_begins_anew_as_well(
    clock: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another node waits to meet again, and the agent learns it from torch: its laps were added to the last start's."""
    monkeypatch.setattr(LocalElasticAgent, "_restart_workers", lambda *_: None)
    agent, phases = Agent.__new__(Agent), Phases()
    record = TimeRecord(WorkerChannel(tmp_path), clock=lambda: clock[0])
    agent._shared = cast(SharedState, SimpleNamespace(phases=phases, status=SimpleNamespace(time=record)))
    clock[0] += 1
    phases.mark("rendezvous")
    agent._restart_workers(cast("WorkerGroup", None))
    clock[0] += 2
    phases.mark("shutdown")
    assert phases.seconds == {"shutdown": 2.0}
