"""Which process failed first, in which of pod 0's rounds."""

import pytest

from builders import NOW, ReportBuilder, at, make_job, make_pod, make_report
from neuron_api.resource.progress import Progress
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import Restart, RestartScope
from neuron_operator.planning.failures import blame

JOB = make_job().nodes(3).build()
PODS = [make_pod(JOB, index).ready().build() for index in range(3)]
HOST, SECOND, THIRD = (make_report(pod, JOB).round(1) for pod in PODS)
LOST = "RuntimeError: [gloo] Connection closed by peer [10.0.0.2]:1234"


def reports(*builders: ReportBuilder) -> dict[int, Progress]:
    return {one.build().node_rank: one.build() for one in builders}


def first(*builders: ReportBuilder, number: int = 0) -> blame.Blame:
    return blame.by_round(reports(*builders))[number][0]


def test_the_earliest_failure_is_to_blame() -> None:
    found = first(HOST.failure(0, 1, when=at(0.2)), SECOND.failure(0, 2, when=at(0.1)))
    assert (found.index, found.failure.rank) == (1, 2)


@pytest.mark.parametrize(
    "said",
    [
        LOST,
        "ConnectionResetError: Connection reset by peer",
        "torch.distributed.DistNetworkError: ...",
        "RuntimeError: Socket Timeout",
        "BrokenPipeError: Broken pipe",
        "(NRT) Suspected hang in collectives",
    ],
)
def test_one_that_lost_its_connection_is_a_victim_though_it_spoke_first(said: str) -> None:
    found = first(HOST.failure(0, 0, when=at(0.1), message=said), SECOND.failure(0, 2, exit_code=-9, when=at(0.2)))
    assert found.failure.rank == 2


def test_one_that_the_agent_ended_is_a_victim() -> None:
    found = first(HOST.failure(0, 0, exit_code=-15, when=at(0.1)), SECOND.failure(0, 2, message="boom", when=at(0.2)))
    assert found.failure.rank == 2


def test_one_that_was_killed_is_no_victim_whatever_it_said_last() -> None:
    found = first(HOST.failure(0, 0, exit_code=-9, when=at(0.1), message=LOST), SECOND.failure(0, 2, when=at(0.2)))
    assert found.failure.rank == 0


def test_among_victims_the_earliest_and_then_the_lowest_rank_is_named() -> None:
    assert first(SECOND.failure(0, 2, message=LOST), HOST.failure(0, 1, message=LOST)).failure.rank == 1


@pytest.mark.parametrize(
    ("code", "said", "cause", "message"),
    [
        (1, "ValueError: bad", Reason.PROCESS_FAILED, "ValueError: bad"),
        (1, "", Reason.PROCESS_FAILED, ""),
        (-9, "", Reason.PROCESS_KILLED, "SIGKILL"),
        (-11, "", Reason.PROCESS_KILLED, "SIGSEGV"),
        (-99, "", Reason.PROCESS_KILLED, "signal 99"),
        (-6, "terminate called", Reason.PROCESS_KILLED, "terminate called"),
    ],
)
def test_cause_and_words_follow_from_the_exit_code(code: int, said: str, cause: Reason, message: str) -> None:
    found = first(HOST.failure(0, 0, exit_code=code, message=said))
    assert (found.cause, found.message) == (cause, message)


def test_a_pod_that_came_later_counts_fewer_rounds() -> None:
    host = HOST.round(5)
    late = SECOND.round(2).failure(1, 2, exit_code=-9)
    assert list(blame.by_round(reports(host, late))) == [4]
    assert first(host.failure(4, 0, message=LOST), late, number=4).failure.rank == 2


def test_failures_before_pod_0_was_there_are_of_another_pod_0() -> None:
    host = HOST.round(0).started(at(100))
    old = SECOND.round(3).failure(2, 2, when=at(50))
    assert blame.by_round(reports(host, old)) == {}
    new = old.round(4).failure(3, 2, when=at(150))
    assert list(blame.by_round(reports(host.round(1), new))) == [0]


def test_rounds_are_told_in_their_order() -> None:
    host = HOST.round(9).failure(7, 0).failure(2, 0).failure(5, 0)
    assert list(blame.by_round(reports(host))) == [2, 5, 7]


def test_a_culprit_comes_before_the_victim_that_was_told() -> None:
    told = Restart(
        restart_scope=RestartScope.PROCESS, cause=Reason.PROCESS_FAILED, time=NOW, rank=0, exit_code=1, message=LOST
    )
    culprit = first(HOST, SECOND.failure(0, 2, exit_code=-9, when=at(1)))
    assert blame.comes_before(culprit, told)
    named = told.model_copy(update={"exit_code": -9, "message": "SIGKILL"})
    assert not blame.comes_before(culprit, named)


@pytest.mark.parametrize("said", ["ValueError: bad", "", "KeyError: 'peer'", "FileNotFoundError: connection.yaml"])
def test_an_error_of_its_own_is_not_a_lost_connection(said: str) -> None:
    assert not blame.lost_connection(said)
