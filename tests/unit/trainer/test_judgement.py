"""What the end of a worker means: its own fault, a lost peer, a device that is not free, or nothing."""

import signal

import pytest

from neuron_trainer import accelerators
from neuron_trainer.ipc.process_group import is_peer_loss
from neuron_trainer.launcher.elastic.budget import RestartBudget
from neuron_trainer.launcher.elastic.judgement import Verdict, judge

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
        ("cuda", -signal.SIGABRT, "", (), Verdict.OWN),
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
