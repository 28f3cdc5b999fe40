"""What the end of a worker means: its own fault, a lost peer, a device that is not free, or nothing."""

import signal
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch.distributed.elastic.agent.server.api import RunResult, WorkerState
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure as TorchFailure

from neuron_api.findings.finding import error
from neuron_trainer import accelerators
from neuron_trainer.errors import InputError, PreemptedError
from neuron_trainer.ipc import signals
from neuron_trainer.ipc.process_group import is_peer_loss
from neuron_trainer.ipc.worker_channel import Start, WorkerChannel
from neuron_trainer.launcher.elastic import agent as agent_module
from neuron_trainer.launcher.elastic.agent import Agent
from neuron_trainer.launcher.elastic.failure import Verdict, first_fall, judge
from neuron_trainer.launcher.elastic.shared_state import RestartBudget, SharedState
from neuron_trainer.launcher.termination import StopRequest
from neuron_trainer.worker import WorkerOutcome

STALE = "NRT:nrt_allocate_neuron_cores  Logical Neuron Core(s) not available - Requested:lnc0-lnc0 Available:0"
BARRIER = "RuntimeError: Failed to execute the device barrier 1"


@pytest.mark.parametrize(
    ("name", "code", "text", "left", "verdict"),
    [
        ("neuron", 1, STALE, (), Verdict.DEVICE_BUSY),
        ("neuron", 1, BARRIER, (), Verdict.DEVICE_BUSY),
        ("neuron", -signal.SIGABRT, "terminate called", (), Verdict.PEER),
        ("neuron", -signal.SIGABRT, STALE, (), Verdict.DEVICE_BUSY),
        ("neuron", -signal.SIGSEGV, "", (0,), Verdict.COMPLETE),
        ("cpu", -signal.SIGSEGV, "", (0, 1), Verdict.COMPLETE),
        ("neuron", -signal.SIGSEGV, "", (1,), Verdict.OWN),
        ("neuron", -signal.SIGSEGV, "", (), Verdict.OWN),
        ("neuron", -signal.SIGKILL, "", (), Verdict.OWN),
        ("neuron", 1, "ValueError: a bug", (), Verdict.OWN),
        ("cpu", -signal.SIGABRT, "terminate called", (), Verdict.OWN),
        ("cpu", 1, STALE, (), Verdict.OWN),
        ("cuda", -signal.SIGABRT, "", (), Verdict.PEER),
    ],
)
def test_ends_of_workers(name: str, code: int, text: str, left: tuple[int, ...], verdict: Verdict) -> None:
    assert judge(accelerators.get(name), code, text, 0, left) is verdict


@pytest.mark.parametrize(
    ("name", "text", "is_loss"),
    [
        ("neuron", "TDRV: Timeout exceeded: Waiting on barrier proxy task: 120 sec", True),
        ("neuron", "Connection reset by peer", True),
        ("cpu", "Waiting on barrier proxy task", False),
        ("cuda", "NCCL error: remote process exited or there was a network error", True),
        ("cuda", "NCCL error: invalid usage", False),
        ("neuron", "NRT_EXEC_HW_ERR_NC_UE (1202)", False),
        ("neuron", STALE, False),
    ],
)
def test_each_accelerator_has_its_own_words_for_a_lost_peer(name: str, text: str, is_loss: bool) -> None:
    assert is_peer_loss(RuntimeError(text), name) is is_loss


def test_a_device_that_is_not_free_is_waited_for_and_then_counts() -> None:
    budget = RestartBudget(remaining=1)
    assert [budget.take_for_device(made_progress=False, now=now) for now in (0.0, 60.0, 119.0, 120.0)] == [
        True, True, True, False,
    ]  # fmt: skip
    assert budget.take_for_device(made_progress=True, now=500.0), "a step in between: it was free"
    assert budget.remaining == 1


@pytest.mark.parametrize(
    ("reported", "codes", "first"),
    [
        (0, {0: -signal.SIGABRT, 1: -signal.SIGKILL}, 1),
        (0, {0: -signal.SIGABRT, 1: 1, 2: -signal.SIGABRT}, 1),
        (0, {0: -signal.SIGABRT, 1: -signals.END, 2: None, 3: 0}, 0),
        (0, {0: 1, 1: -signal.SIGKILL}, 0),
        (2, {0: -signals.END, 1: -signals.END, 2: -signal.SIGKILL}, 2),
        (0, {}, 0),
    ],
)
def test_who_was_aborted_is_not_blamed_for_who_fell_before(
    reported: int, codes: dict[int, int | None], first: int
) -> None:
    assert first_fall(reported, codes) == first


# ---- what the agent does about it ------------------------------------------------------------------------------------


@dataclass
class Node:
    """An agent without torch's, and what it did."""

    agent: Agent
    channel: WorkerChannel
    stop: StopRequest
    failures: list[Any]
    rounds: list[str]

    def fail(self, code: int, said: str = "") -> RunResult:
        """Let local rank 1 end so."""
        self.agent._shared.stderr = SimpleNamespace(tail=lambda _: said)  # type: ignore[assignment]
        failure = TorchFailure(local_rank=1, pid=1, exitcode=code, error_file="/none")
        result = RunResult(state=WorkerState.FAILED, failures={5: failure})
        group: Any = SimpleNamespace(workers=[SimpleNamespace(global_rank=4), SimpleNamespace(global_rank=5)])
        return self.agent._failed(group, result)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """With one restart, on the device `neuron`; it waits for nothing."""
    monkeypatch.setattr(agent_module, "_DEVICE_PAUSE", 0.0)
    agent, channel = Agent.__new__(Agent), WorkerChannel(tmp_path)
    failures: list[Any] = []
    rounds: list[str] = []
    stop = StopRequest(channel)
    status: Any = SimpleNamespace(step=3, add_failure=failures.append)
    agent._shared = SharedState(channel, status, stop, RestartBudget(1, rounds=1), set(), None)  # type: ignore[arg-type]
    agent._pcontext = None
    agent._accelerator, agent._first_step_of_round = accelerators.get("neuron"), 3
    monkeypatch.setattr(Agent, "_restart_workers", lambda *_: rounds.append("again"))
    return Node(agent, channel, stop, failures, rounds)


def test_what_a_process_said_gets_into_the_status_without_secrets_of_addresses(node: Node) -> None:
    node.fail(1, "OSError: https://me:hidden@store.example/rows?sig=hidden is gone")
    (failure,) = node.failures
    assert "hidden" not in str(failure)
    assert "https://store.example/rows is gone" in str(failure)


def test_a_fall_after_the_work_is_a_success(node: Node) -> None:
    node.channel.report_left(1, WorkerOutcome.STOPPED_EARLY)
    result = node.fail(-signal.SIGSEGV)
    assert (result.state, result.return_values) == (WorkerState.SUCCEEDED, {1: WorkerOutcome.STOPPED_EARLY})
    assert not node.failures


def test_a_fall_after_a_saved_stop_leaves_as_that_stop(node: Node) -> None:
    node.channel.report_left(0, WorkerOutcome.PREEMPTED)
    node.channel.report_left(1, WorkerOutcome.PREEMPTED)
    with pytest.raises(PreemptedError, match="saved at step 3"):
        node.fail(-signal.SIGSEGV)


def test_notes_of_a_round_are_gone_in_the_next_one(node: Node) -> None:
    node.channel.report_left(1, WorkerOutcome.FINISHED)
    node.channel.write_start(Start(2))
    assert node.channel.departures() == {}
    node.fail(-signal.SIGSEGV)
    assert len(node.failures) == 1, "it is a failure again"


def test_an_abort_without_peers_blames_nobody_until_it_goes_on_and_on(node: Node) -> None:
    for _ in range(4):  # three for nothing, and the one restart
        assert node.fail(-signal.SIGABRT).state is WorkerState.HEALTHY
    assert (len(node.rounds), node.failures) == (4, [])
    assert node.fail(-signal.SIGABRT).state is WorkerState.FAILED
    assert [(one.rank, one.exit_code) for one in node.failures] == [(5, -signal.SIGABRT)]


def test_a_kill_that_others_were_aborted_for_is_the_failure(node: Node, tmp_path: Path) -> None:
    processes = [SimpleNamespace(exitcode=-signal.SIGKILL, pid=1), SimpleNamespace(exitcode=-signal.SIGABRT, pid=2)]
    files = {0: str(tmp_path / "0"), 1: str(tmp_path / "1")}
    node.agent._pcontext = SimpleNamespace(_pc=SimpleNamespace(processes=processes), error_files=files)  # type: ignore[assignment]
    assert node.fail(-signal.SIGABRT).state is WorkerState.HEALTHY
    assert [(one.rank, one.exit_code) for one in node.failures] == [(4, -signal.SIGKILL)]


def test_busy_cores_cost_nothing_for_a_while_and_are_then_a_failure(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("neuron_trainer.launcher.elastic.agent.time.monotonic", lambda: now[0])
    for now[0] in (0.0, 60.0, 119.0):
        assert node.fail(1, STALE).state is WorkerState.HEALTHY
    assert not node.failures
    now[0] = 121.0
    assert node.fail(1, STALE).state is WorkerState.HEALTHY, "the process rung"
    assert node.fail(1, STALE).state is WorkerState.FAILED, "then the pod"
    assert all(STALE in "\n".join(one.lines) for one in node.failures), "its words are for the failure table"


def test_what_a_process_refuses_is_one_message_and_no_failure(node: Node) -> None:
    problem = InputError([error("model.x", "it is wrong.", "Mend it.")])
    node.channel.report_refusal(problem)
    with pytest.raises(InputError, match="it is wrong"):
        node.fail(1)
    assert not node.failures


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_told_by_the_signal_that_asked_for_it(node: Node, number: signal.Signals) -> None:
    node.stop._on_signal(number, None)
    with pytest.raises(PreemptedError, match=f"^{number.name}, and a process failed before it had saved"):
        node.fail(-signal.SIGABRT)
