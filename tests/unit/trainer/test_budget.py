"""What a restart costs, and which errors mean that somebody else has died."""

import pytest
import torch.distributed as dist

from neuron_trainer.errors import PeerLostError
from neuron_trainer.ipc.process_group import is_peer_loss
from neuron_trainer.launcher.elastic.shared_state import RestartBudget


def test_own_failures_use_the_budget_up() -> None:
    budget = RestartBudget(remaining=2)
    assert [budget.take() for _ in range(3)] == [True, True, False]


def test_without_a_budget_the_first_failure_is_the_last() -> None:
    assert not RestartBudget(remaining=0).take()


def test_a_lost_peer_costs_nothing_while_training_gets_on() -> None:
    budget = RestartBudget(remaining=1)
    assert all(budget.take_for_peer(made_progress=True) for _ in range(50))
    assert budget.remaining == 1


def test_rounds_without_a_step_are_free_three_times_and_then_count() -> None:
    budget = RestartBudget(remaining=1)
    assert [budget.take_for_peer(made_progress=False) for _ in range(5)] == [True, True, True, True, False]


def test_a_step_in_between_makes_them_free_again() -> None:
    budget = RestartBudget(remaining=0)
    for _ in range(3):
        assert budget.take_for_peer(made_progress=False)
    assert budget.take_for_peer(made_progress=True)
    assert budget.take_for_peer(made_progress=False)


@pytest.mark.parametrize(
    "problem",
    [
        RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:545] Read error: Connection reset by peer"),
        RuntimeError("[../gloo/transport/tcp/pair.cc] Connection closed by peer [127.0.0.1]:4242"),
        dist.DistNetworkError("failed to recv, got 0 bytes"),
        dist.DistBackendError("broken"),
        PeerLostError("gone"),
    ],
)
def test_a_broken_collective_is_the_loss_of_a_peer(problem: Exception) -> None:
    assert is_peer_loss(problem, "cpu")


@pytest.mark.parametrize(
    "problem", [RuntimeError("shape mismatch"), ValueError("gloo"), KeyError("x"), OSError("disk")]
)
def test_any_other_error_is_this_process_own(problem: Exception) -> None:
    assert not is_peer_loss(problem, "cpu")
