"""Each failure is told once, with what it cost; a line is open until the first step after it."""

from datetime import datetime
from typing import Any

import pytest

from builders import NOW, ReportBuilder, at, make_job, make_pod, make_report
from neuron_api.resource.progress import TrainerPhase
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import CheckpointStatus, JobStatus, ProgressStatus, Restart, RestartScope
from neuron_operator.planning.failures.failure_table import EMPTY
from neuron_operator.planning.restarts import ledger

JOB = make_job().nodes(2).build()
PODS = {index: make_pod(JOB, index).on(f"node-{index}").ready().build() for index in range(2)}
HOST, SECOND = (make_report(pod, JOB, started=at(-100)) for pod in PODS.values())
SEEN = at(100)
"""When the operator looks."""
LOST = "RuntimeError: Connection closed by peer"


def seen(round: int, **values: Any) -> JobStatus:
    progress = ProgressStatus(step=30, pod_uid=PODS[0].uid, round=round)
    return JobStatus(**{"progress": progress, **values})


def follow(status: JobStatus, *reports: ReportBuilder) -> JobStatus:
    """As a pass does: what was seen is remembered."""
    built = {one.build().node_rank: one.build() for one in reports}
    told = ledger.record_process_failures(status, built, PODS, EMPTY, SEEN)
    if 0 not in built:
        return told
    before = told.progress or ProgressStatus()
    now = before.model_copy(update={"pod_uid": built[0].pod_uid, "round": built[0].round})
    return told.model_copy(update={"progress": now})


def entry(scope: RestartScope = RestartScope.PROCESS, time: datetime = NOW, **values: Any) -> Restart:
    return Restart(
        **{"restart_scope": scope, "cause": Reason.PROCESS_KILLED, "time": time, "pod_uid": "p", "step": 30, **values}
    )


# ---- telling -----------------------------------------------------------------------------------------------------


def test_a_failed_process_becomes_a_line_with_everything_that_is_known() -> None:
    host, second = HOST.round(1), SECOND.round(1).failure(0, 2, exit_code=-9, when=at(1), step=31)
    (line,) = follow(seen(0), host, second).restarts
    assert (line.restart_scope, line.cause, line.rank, line.exit_code) == (
        RestartScope.PROCESS,
        Reason.PROCESS_KILLED,
        2,
        -9,
    )
    assert (line.pod, line.pod_uid, line.node, line.round) == ("tiny-0-1", "pod-0-1", "node-1", 0)
    assert (line.step, line.message, line.time) == (31, "SIGKILL", at(1))


def test_the_time_to_detect_is_from_the_first_failure_to_the_first_sight_whoever_is_blamed_in_the_end() -> None:
    late = HOST.round(1).failure(0, 0, message=LOST, when=at(97))
    told = follow(seen(0), late)
    assert told.restarts[0].detection_seconds == 3.0
    second = SECOND.round(1).failure(0, 2, exit_code=-9, when=at(96.5))
    first = ledger.record_process_failures(told, {0: late.build(), 1: second.build()}, PODS, EMPTY, at(900))
    assert [(line.rank, line.detection_seconds) for line in first.restarts] == [(2, 3.5)]


def test_clocks_that_contradict_each_other_tell_no_time_to_detect() -> None:
    (line,) = follow(seen(0), HOST.round(1).failure(0, 0, when=at(101))).restarts
    assert line.detection_seconds is None


def test_looking_again_tells_nothing_again() -> None:
    host = HOST.round(1).failure(0, 0, message="ValueError: bad")
    once = follow(seen(0), host, SECOND.round(1))
    assert once.restart_count == 1
    assert follow(follow(once, host, SECOND.round(1)), host) == once


def test_a_failure_that_is_recovered_from_is_not_told_again() -> None:
    host = HOST.round(1).failure(0, 0)
    told = follow(seen(0), host)
    closed = ledger.close_recovered(told, host.recovery(1, 20, 10, at(5)).build())
    assert closed.restarts[0].recovered_time == at(5)
    assert follow(closed, host) == closed


def test_what_was_told_long_ago_is_not_told_again_after_its_line_has_fallen_off() -> None:
    host = HOST.round(5).failure(0, 0, when=at(1)).failure(3, 1, when=at(2))
    assert follow(seen(5), host).restarts == ()


def test_rounds_between_two_looks_are_each_told() -> None:
    host = HOST.round(3).failure(0, 0, when=at(1)).failure(1, 1, when=at(2)).failure(2, 0, when=at(3))
    status = follow(seen(0), host)
    assert [line.round for line in status.restarts] == [0, 1, 2]
    assert status.restart_count == 3


def test_an_operator_that_was_away_tells_what_it_missed_once() -> None:
    host = HOST.round(2).failure(0, 0, when=at(1)).failure(1, 0, when=at(9))
    told = follow(seen(0), HOST.round(1).failure(0, 0, when=at(1)))
    assert [line.round for line in follow(told, host).restarts] == [0, 1]


def test_the_first_process_replaces_the_victim_that_answered_earlier() -> None:
    host = HOST.round(1).failure(0, 0, message=LOST, when=at(1))
    told = follow(seen(0), host)
    assert told.restarts[0].rank == 0
    told = follow(told, host, SECOND.round(1).failure(0, 2, exit_code=-9, when=at(1.1)))
    assert [line.rank for line in told.restarts] == [2]
    assert told.restart_count == 1


def test_a_victim_does_not_take_the_culprits_place_when_the_culprit_falls_silent() -> None:
    host = HOST.round(1).failure(0, 0, message=LOST, when=at(1))
    told = follow(seen(0), host, SECOND.round(1).failure(0, 2, exit_code=-9, when=at(1.1)))
    assert follow(told, host) == told


def test_a_pod_that_answers_late_is_still_heard() -> None:
    silent = follow(seen(0), HOST.round(1))
    assert silent.restarts == ()
    assert ledger.needs_every_report(silent, HOST.round(1).build(), PODS[0].uid), "everybody is asked again"
    told = follow(silent, HOST.round(1), SECOND.round(1).failure(0, 2, exit_code=-9))
    assert [line.rank for line in told.restarts] == [2]


def test_a_failure_in_a_pod_that_was_replaced_before_is_told_in_pod_0s_rounds() -> None:
    told = follow(seen(6), HOST.round(7), SECOND.round(2).failure(1, 2, exit_code=-9))
    assert [(line.round, line.rank) for line in told.restarts] == [(6, 2)]


def test_a_new_pod_0_does_not_bring_old_failures_back() -> None:
    old = SECOND.round(3).failure(0, 2, when=at(1)).failure(1, 2, when=at(2)).failure(2, 2, when=at(3))
    status = JobStatus(progress=ProgressStatus(pod_uid="an earlier pod 0", round=3))
    assert follow(status, HOST.started(at(50)), old).restarts == ()


def test_equal_numbers_of_two_pods_0_are_two_failures() -> None:
    first = follow(seen(0), HOST.round(1).failure(0, 0, when=at(1)))
    second = follow(first, HOST.started(at(50)).round(1).failure(0, 0, when=at(60)))
    assert [line.time for line in second.restarts] == [at(1), at(60)]
    assert follow(second, HOST.started(at(50)).round(1).failure(0, 0, when=at(60))) == second


@pytest.mark.parametrize(("host", "second"), [(2, 3), (3, 2)], ids=["pod 0 was asked early", "the other enters late"])
def test_reports_from_the_moment_between_two_rounds_are_set_right_by_the_next_look(host: int, second: int) -> None:
    failed = SECOND.failure(2, 2, exit_code=-9)
    wrong = follow(seen(2), HOST.round(host), failed.round(second))
    right = follow(wrong, HOST.round(3), failed.round(3))
    assert [(line.round, line.rank) for line in right.restarts] == [(2, 2)]
    assert right.restart_count == 1


@pytest.mark.parametrize("recovered", [None, at(20)])
def test_processes_that_lost_a_pod_are_no_failure_of_their_own(recovered: datetime | None) -> None:
    lost = entry(RestartScope.POD, cause=Reason.NODE_LOST, round=0, recovered_time=recovered)
    status = seen(0, restarts=(lost,), restart_count=1)
    assert follow(status, HOST.round(1).failure(0, 0, message=LOST)).restarts == (lost,)


def test_lines_beyond_the_limit_fall_off_and_are_still_counted() -> None:
    status = JobStatus()
    for number in range(70):
        status = ledger.append(status, entry(time=at(number)))
    assert len(status.restarts) == ledger.LIMIT
    assert status.restart_count == 70
    assert status.restarts[0].time == at(6)


def test_a_long_message_is_cut_to_what_a_line_holds() -> None:
    told = follow(seen(0), HOST.round(1).failure(0, 0, message="x" * 5000))
    assert len(told.restarts[0].message) == 1024


def test_without_pod_0_nothing_is_told() -> None:
    assert follow(seen(0), SECOND.failure(0, 2)) == seen(0)


# ---- whom to ask ---------------------------------------------------------------------------------------------------


def test_only_pod_0_is_asked_while_all_is_well() -> None:
    assert not ledger.needs_every_report(seen(0), HOST.step(3).build(), PODS[0].uid)
    assert not ledger.needs_every_report(seen(2), HOST.round(2).step(3).build(), PODS[0].uid)
    assert not ledger.needs_every_report(JobStatus(), HOST.build(), PODS[0].uid)


@pytest.mark.parametrize(
    "report",
    [HOST.round(1), HOST.step(3).failure(0, 0), HOST.round(1).step(3), HOST.step(3).phase(TrainerPhase.RENDEZVOUS)],
    ids=["loading", "failed", "later", "waiting again"],
)
def test_every_pod_is_asked_when_a_round_has_ended(report: ReportBuilder) -> None:
    assert ledger.needs_every_report(seen(0), report.build(), PODS[0].uid)


def test_every_pod_is_asked_until_the_failure_is_recovered_from() -> None:
    report = HOST.round(1).step(31).build()
    assert ledger.needs_every_report(seen(1, restarts=(entry(),)), report, PODS[0].uid)
    assert not ledger.needs_every_report(seen(1, restarts=(entry(recovered_time=at(3)),)), report, PODS[0].uid)


# ---- recoveries ----------------------------------------------------------------------------------------------------


def recovered(status: JobStatus, report: ReportBuilder) -> list[tuple[Any, ...]]:
    lines = ledger.close_recovered(status, report.build()).restarts
    return [(one.recovered_time, one.resumed_from_step, one.steps_lost, one.recovery_seconds) for one in lines]


OPEN = (None, None, None, None)


def test_the_first_step_of_a_later_round_closes_a_line_with_its_cost() -> None:
    status = seen(1, restarts=(entry(round=0),))
    report = HOST.round(1).recovery(1, resumed=20, lost=10, first_step=at(7.5))
    assert recovered(status, report) == [(at(7.5), 20, 10, 7.5)]
    assert ledger.close_recovered(status, report.build()).steps_lost == 10


@pytest.mark.parametrize(
    "report",
    [
        HOST.round(0).step(31, at(1)),
        HOST.round(1),
        HOST.round(1).recovery(1, 20, 10),
        HOST.round(1).recovery(1, 20, 10).step(31, at(1)),
        HOST.round(3).recovery(1, 20, 10, at(-50)),
        HOST.round(1).phase(TrainerPhase.RENDEZVOUS)._with(last_step_time=at(1)),
    ],
    ids=["the same round", "no step", "no first step", "a recovery without a step", "an earlier recovery", "waiting"],
)
def test_a_line_stays_open_until_a_step_after_it(report: ReportBuilder) -> None:
    assert recovered(seen(1, restarts=(entry(round=0),)), report) == [OPEN]


def test_failures_without_a_step_between_them_lose_the_same_steps_once() -> None:
    lines = (entry(round=0), entry(round=1, time=at(5)))
    report = HOST.round(2).recovery(1, 20, 10).recovery(2, 20, 10, at(9))
    status = seen(2, restarts=lines)
    assert recovered(status, report) == [(at(9), 20, 10, 9.0), (at(9), 20, 0, 4.0)]
    assert ledger.close_recovered(status, report.build()).steps_lost == 10


def test_a_line_that_is_told_late_does_not_charge_the_same_steps_again() -> None:
    report = HOST.round(2).recovery(2, 20, 10, at(9))
    status = ledger.close_recovered(seen(2, restarts=(entry(round=0),)), report.build())
    late = ledger.append(status, entry(round=1, time=at(5)))
    assert ledger.close_recovered(late, report.build()).steps_lost == 10


def test_a_second_failure_before_the_first_step_costs_what_the_first_had_lost() -> None:
    report = HOST.round(2).recovery(1, 20, 10).recovery(2, 20, 0, at(9))
    assert recovered(seen(2, restarts=(entry(round=0),)), report) == [(at(9), 20, 10, 9.0)]


def test_a_later_pod_0_counts_from_0_and_closes_lines_of_its_predecessor() -> None:
    status = seen(5, restarts=(entry(RestartScope.POD, round=5),))
    assert recovered(status, HOST.started(at(3)).recovery(0, 20, 10, at(9))) == [(at(9), 20, 10, 9.0)]


def test_a_later_attempt_closes_lines_of_an_earlier_one_though_clocks_differ() -> None:
    status = seen(5, attempt=1, restarts=(entry(RestartScope.GANG, round=5),))
    report = HOST._with(attempt=1, start_time=None).recovery(0, 20, 10, at(9))
    assert recovered(status, report) == [(at(9), 20, 10, 9.0)]


def test_a_start_from_scratch_is_a_recovery_that_lost_everything() -> None:
    status = seen(1, restarts=(entry(round=0),))
    assert recovered(status, HOST.round(1).step(1, at(4))) == [(at(4), 0, 30, 4.0)]


def test_a_start_from_the_known_checkpoint_lost_the_steps_after_it() -> None:
    checkpoint = CheckpointStatus(step=20, path="/c", time=NOW)
    status = seen(1, restarts=(entry(round=0),), checkpoint=checkpoint)
    assert recovered(status, HOST.round(1).step(21, at(4))) == [(at(4), 20, 10, 4.0)]


def test_without_a_report_nothing_is_closed() -> None:
    status = seen(1, restarts=(entry(),))
    assert ledger.close_recovered(status, None) == status
