"""A stop or a loss while the run is still being started: one sentence and the right exit code, no traceback.

The kind: a signal, to the launcher or to its whole process group, between the first import and the first step. Looked
at: SIGTERM and SIGINT; the forkserver in its imports; each phase of the start; the forkserver killed; a signal after
the end.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch.distributed as dist

from bounds import BOUND
from neuron_api.contract import ExitCode
from neuron_trainer.errors import NotBegunError, PreemptedError, StartError
from neuron_trainer.ipc.worker_channel import WorkerChannel
from neuron_trainer.launcher import checkpoint_selector, start, termination
from neuron_trainer.launcher.elastic import forkserver, rendezvous, supervisor
from neuron_trainer.launcher.termination import StopRequest
from neuron_trainer.preflight import preflight

from .conftest import alone

pytestmark = pytest.mark.slow

SIGNALS_TO_THE_FORKSERVER = """
import multiprocessing, os, signal
from neuron_trainer.launcher.elastic import forkserver
forkserver.start(1)
for number in (signal.SIGTERM, signal.SIGINT):
    os.kill(forkserver.pid(), number)
worker = multiprocessing.get_context("forkserver").Process(target=os.getpid)
worker.start()
worker.join()
print("exit code", worker.exitcode)
forkserver.kill()
"""


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    environ = dict(os.environ)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    os.environ.clear()
    os.environ.update(environ)


def test_the_forkserver_leaves_signals_of_the_group_to_the_launcher() -> None:
    done = subprocess.run([sys.executable, "-c", SIGNALS_TO_THE_FORKSERVER], capture_output=True, text=True,
                          timeout=BOUND, check=False)  # fmt: skip
    assert (done.stdout, done.stderr) == ("exit code 0\n", "")


KILLED_WITH_A_WORKER = """
import multiprocessing, time
from neuron_trainer.launcher.elastic import forkserver
context = multiprocessing.get_context("forkserver")
lock = context.Lock()
worker = context.Process(target=time.sleep, args=(600,))
worker.start()
forkserver.kill()
worker.join()
print("exit code", worker.exitcode)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="children are listed in /proc")
def test_workers_end_with_the_forkserver_and_say_nothing() -> None:
    """Found by a new user: a worker that was just being forked printed a traceback about a semaphore (`SemLock`)."""
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", KILLED_WITH_A_WORKER], capture_output=True, text=True,
                          timeout=BOUND, check=False)  # fmt: skip
    assert (done.stdout, done.stderr) == ("exit code 255\n", ""), "the forkserver, which knows the code, is gone"
    assert time.monotonic() - begun < 60


@pytest.mark.usefixtures("handlers")
def test_a_second_ctrl_c_ends_the_workers_first(tmp_path: Path) -> None:
    killed: list[str] = []
    stop = StopRequest(WorkerChannel(tmp_path), lambda: killed.append("workers"))
    stop.listen()
    signal.raise_signal(signal.SIGINT)
    assert killed == []
    with pytest.raises(SystemExit, match="130"):
        signal.raise_signal(signal.SIGINT)
    assert killed == ["workers"]


@pytest.mark.parametrize("problem", [EOFError(), ConnectionResetError(), ConnectionRefusedError(), BrokenPipeError()])
def test_a_forkserver_that_is_gone_is_one_sentence(problem: Exception) -> None:
    with pytest.raises(StartError, match="the process that the workers are forked from ended"), forkserver.forking():
        raise problem


@pytest.mark.parametrize(
    ("problem", "code", "says"),
    [
        (NotBegunError(), ExitCode.PREEMPTED, "stopped on request before training began"),
        (KeyboardInterrupt(), ExitCode.PREEMPTED, "stopped on request before training began"),
        (StartError("no memory"), ExitCode.ERROR, "no memory"),
    ],
)
def test_a_start_that_ends_early_is_one_line(
    problem: BaseException, code: int, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise problem

    monkeypatch.setattr(start, "_run", fail)
    monkeypatch.setattr(forkserver, "kill", lambda: None)
    assert start.main("a.yaml", []) == code
    assert [line.split(" ", 2)[2] for line in capsys.readouterr().err.splitlines()] == [says]


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("has_steps", [False, True])
def test_a_signal_is_answered_by_what_it_costs(
    has_steps: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    stop = StopRequest(WorkerChannel(tmp_path))
    stop.listen()
    stop.check()
    stop.has_steps = has_steps
    signal.raise_signal(signal.SIGTERM)
    words = "finishing the step and saving" if has_steps else "stopping; there is nothing to save yet"
    assert caplog.messages == [f"SIGTERM: {words}"]
    with pytest.raises(NotBegunError):
        stop.check()


@pytest.mark.usefixtures("handlers")
def test_a_signal_after_the_end_of_the_hand_off_does_no_harm(tmp_path: Path) -> None:
    stop = StopRequest(WorkerChannel(tmp_path / "removed"))
    stop.listen()
    signal.raise_signal(signal.SIGTERM)
    assert stop.is_requested


def never(*_: Any, **__: Any) -> None:
    raise AssertionError("the start went on")


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("phase", ["forkserver", "preflight", "choice"])
def test_a_stop_is_looked_at_after_each_phase(
    phase: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    def stopping(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    nothing: Callable[..., None] = lambda *_, **__: None  # noqa: E731
    steps = {"forkserver": (forkserver, "start"), "preflight": (preflight, "check"),
             "choice": (checkpoint_selector.CheckpointSelector, "finished"),
             "workers": (supervisor, "run")}  # fmt: skip
    names = list(steps)
    for name, (place, attribute) in steps.items():
        done = names.index(name) - names.index(phase)
        monkeypatch.setattr(place, attribute, nothing if done < 0 else stopping if done == 0 else never)
    monkeypatch.setattr(forkserver, "kill", nothing)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(alone(tiny, tmp_path / "log")))
    assert start.main(str(path), []) == ExitCode.PREEMPTED
    lines = capsys.readouterr().err.splitlines()
    assert any("SIGTERM: stopping; there is nothing to save yet" in line for line in lines)
    assert lines[-1].endswith("stopped on request before training began")


@pytest.mark.parametrize(
    ("step", "says"), [(8, "nothing to do: /c is at the last step already"),
                       (10, "nothing to do: /c is at step 10, 2 past max_steps 8")],
)  # fmt: skip
def test_a_checkpoint_at_or_past_the_end_is_told_with_its_step(step: int, says: str) -> None:
    assert termination.nothing_to_do(Path("/c"), step, 8) == says


def test_a_stop_while_the_store_is_lost_ends_the_wait_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asked again, and the launcher waited for node 0 until it was killed."""
    stop = SimpleNamespace(is_requested=False, is_waiting=False, signal=signal.SIGTERM)
    shared: Any = MagicMock(stop=stop, budget=SimpleNamespace(rounds=0))

    def lose(*_: object) -> None:
        assert not stop.is_requested, "it waits again"
        stop.is_requested = True
        raise dist.DistNetworkError("node 0 has ended")

    monkeypatch.setattr(rendezvous, "wait_for_store", lose)
    monkeypatch.setattr(supervisor, "_PAUSE", 0.0)
    with pytest.raises(PreemptedError, match="SIGTERM"):
        supervisor.run(MagicMock(rejoin_timeout=600.0), MagicMock(), shared, MagicMock())
