"""Pods that fall together are one incident, however quick the operator was to tell of the first."""

import pytest

from builders import at
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import CountedFailure, JobStatus, Restart, RestartScope
from neuron_operator.planning.failures import incident
from neuron_operator.planning.restarts import budget


def line(pod: int, seconds: float, *, attempt: int = 0, scope: RestartScope = RestartScope.POD) -> Restart:
    cause = Reason.OUT_OF_MEMORY
    return Restart(
        restart_scope=scope, cause=cause, time=at(seconds), attempt=attempt, pod=f"tiny-{attempt}-{pod}", step=7
    )


def sizes(*lines: Restart) -> list[int]:
    return [len(group) for group in incident.incidents(lines)]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], []),
        ([line(0, 0), line(1, 0), line(2, 0)], [3]),
        ([line(0, 0), line(1, 1.5), line(2, 10)], [3]),
        ([line(0, 0), line(1, 5), line(2, 10.1)], [2, 1]),
        ([line(0, 0), line(0, 2)], [1, 1]),
        ([line(0, 0), line(1, 1), line(0, 2), line(1, 3)], [2, 2]),
        ([line(0, 0), line(0, 1, attempt=1)], [1, 1]),
        ([line(0, 0), line(1, 1, scope=RestartScope.GANG), line(0, 2, attempt=1)], [1, 1, 1]),
        ([line(0, 0), line(1, 0.5, scope=RestartScope.PROCESS), line(1, 1)], [2]),
        ([line(0, 100), line(1, 0)], [1, 1]),
    ],
    ids=[
        "none", "seen at once", "within ten seconds of the first", "later", "the same pod again", "all of them again",
        "another attempt", "a gang's restart", "a process between them", "a clock that was set back",
    ],
)  # fmt: skip
def test_lines_of_pods_that_fall_together_are_one(lines: list[Restart], expected: list[int]) -> None:
    assert sizes(*lines) == expected


def test_an_incident_is_charged_once() -> None:
    counted = (CountedFailure(cause=Reason.OUT_OF_MEMORY, time=at(0)),)
    first, second, again = line(0, 0), line(1, 1), line(0, 3)
    assert incident.is_charged(JobStatus(restarts=(first, second), counted_failures=counted))
    assert not incident.is_charged(JobStatus(restarts=(first, second)))
    assert not incident.is_charged(JobStatus(restarts=(first, second, again), counted_failures=counted))
    assert not incident.is_charged(JobStatus())


def test_a_gang_whose_pods_are_deleted_one_by_one_does_not_wait_for_minutes() -> None:
    """`kubectl delete pods -l …` of 16 pods comes in many passes: they waited 300 s when each was a failure."""
    status = JobStatus(restarts=tuple(line(pod, pod / 8) for pod in range(16)))
    assert budget.backoff_seconds(status, at(2)) == 0
