"""How long pods are not created again: the first times not at all, then longer and longer."""

import pytest

from builders import at
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import JobStatus, Restart, RestartScope
from neuron_operator.planning.restarts import budget


def lost(*seconds: float, scope: RestartScope = RestartScope.POD, recovered: bool = False) -> tuple[Restart, ...]:
    return tuple(
        Restart(
            restart_scope=scope, cause=Reason.POD_EVICTED, time=at(s), recovered_time=at(s + 1) if recovered else None
        )
        for s in seconds
    )


@pytest.mark.parametrize(
    ("moments", "seconds"),
    [
        ([], 0),
        ([0], 0),
        ([0, 1], 0),
        ([0, 1, 2], 10),
        ([0, 1, 2, 3], 20),
        (range(5), 40),
        (range(8), 300),
        (range(64), 300),
    ],
)
def test_each_replacement_in_a_row_waits_twice_as_long_up_to_five_minutes(moments: list[int], seconds: float) -> None:
    status = JobStatus(restarts=lost(*moments))
    assert budget.backoff_seconds(status, at(max(moments, default=0))) == seconds


def test_the_wait_runs_out() -> None:
    status = JobStatus(restarts=lost(0, 1, 2))
    assert [budget.backoff_seconds(status, at(2 + s)) for s in (0, 4, 9.5, 10, 500)] == [10, 6, 0.5, 0, 0]


def test_a_clock_that_was_set_back_by_hours_makes_no_wait_of_hours() -> None:
    status = JobStatus(restarts=lost(0, 1, 2))
    assert budget.backoff_seconds(status, at(-6 * 3600)) == 10


def test_pods_that_were_lost_together_are_one_failure() -> None:
    together = tuple(one.model_copy(update={"pod": f"tiny-0-{n}"}) for n, one in enumerate(lost(0, 0, 0, 0, 1, 1)))
    assert budget.backoff_seconds(JobStatus(restarts=together), at(1)) == 0


def test_a_finished_step_ends_the_row() -> None:
    status = JobStatus(restarts=(*lost(0, 1, 2, 3, recovered=True), *lost(4)))
    assert budget.backoff_seconds(status, at(4)) == 0


def test_restarts_inside_the_pods_create_no_pods_and_are_left_out() -> None:
    assert budget.backoff_seconds(JobStatus(restarts=lost(*range(9), scope=RestartScope.PROCESS)), at(9)) == 0


def test_gangs_wait_as_pods_do() -> None:
    assert (
        budget.backoff_seconds(JobStatus(restarts=lost(0, 1, 2, scope=RestartScope.GANG)), at(2))
        == budget.FIRST_BACKOFF_SECONDS
    )
