"""spec.suspend: a near checkpoint is waited for, the pods go, and the job goes on as a new attempt."""

from itertools import pairwise

import pytest

from builders import NOW, JobBuilder, PodBuilder, at, make_report, observed
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.progress import Progress, TrainerPhase
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import JobStatus, Phase, RestartScope
from neuron_operator.planning.observation.observation import ConfigText
from neuron_operator.planning.plan import Plan
from neuron_operator.planning.planner import plan
from neuron_operator.planning.status.changes import announcements

from .passes import JOB, OPTIONS, PODS, TWO, known, names, one_pass, reparsed, started, true

SUSPENDED = TWO.spec(suspend=True)
"""Checkpoints at every 10th step (builders)."""


def trained(step: int, saved: int, seconds: float = 2.0) -> JobStatus:
    """A job that has trained, at a known pace, up to this moment."""
    first = known(JOB, *PODS)
    report = training(step - 4, saved, -4 * seconds)
    _, status = one_pass(observed(first, PODS, [report]))
    _, status = one_pass(observed(reparsed(TWO, status), PODS, [training(step, saved)]))
    assert status.phase is Phase.RUNNING
    assert status.progress is not None
    assert status.progress.seconds_per_step == seconds
    return status


def training(step: int, saved: int, when: float = 0.0) -> Progress:
    report = make_report(PODS[0].build(), JOB).step(step, at(when))
    return (report.checkpoint(saved) if saved else report).build()


def look(
    status: JobStatus, pods: list[PodBuilder], *reports: Progress, seconds: float = 0, job: JobBuilder = SUSPENDED
) -> tuple[Plan, JobStatus]:
    return one_pass(observed(reparsed(job, status), pods, reports), seconds)


def suspended(status: JobStatus, seconds: float = 0) -> JobStatus:
    """Told to go, gone, and told so."""
    for pods in (PODS, PODS, [], []):
        _, status = look(status, pods, seconds=seconds)
    assert status.phase is Phase.SUSPENDED
    return status


def test_a_job_that_is_created_suspended_creates_nothing() -> None:
    seen = observed(SUSPENDED.build(), service=None, config_map=None)
    planned, status = one_pass(seen)
    assert (planned.applies, planned.creates, planned.deletes) == ((), (), ())
    assert (status.phase, status.start_time, status.attempt) == (Phase.SUSPENDED, None, 0)
    told = {ConditionType.READY: Reason.SUSPENDED, ConditionType.SUSPENDED: Reason.SUSPENDED}
    assert true(status) == {**told, ConditionType.CONFIG_VALID: Reason.CONFIG_ACCEPTED}
    planned, again = one_pass(observed(reparsed(SUSPENDED, status), service=None, config_map=None), 60)
    assert (planned.creates, planned.requeue_after, again) == ((), None, status)


def test_a_job_that_was_created_suspended_starts_with_its_first_attempt() -> None:
    _, status = one_pass(observed(SUSPENDED.build()))
    _, status = one_pass(observed(reparsed(TWO, status)), 60)
    assert (status.suspension, status.attempt, status.restarts) == (None, 0, ())
    _, status = one_pass(observed(reparsed(TWO, status)), 60)
    assert status.start_time == at(60)


def test_a_near_checkpoint_is_waited_for() -> None:
    planned, status = look(trained(17, 10), PODS, training(17, 10))
    assert status.suspension is not None
    assert (status.suspension.awaited_step, status.suspension.stop_time) == (20, None)
    assert (planned.deletes, status.phase) == ((), Phase.SUSPENDING)
    planned, waiting = look(status, PODS, training(18, 10, 2), seconds=2)
    assert planned.deletes == ()
    assert true(waiting)[ConditionType.RECONCILING] is Reason.WAITING_FOR_CHECKPOINT
    assert true(waiting)[ConditionType.PROGRESSING] is Reason.STEPS_ADVANCING
    planned, status = look(waiting, PODS, training(20, 20, 6), seconds=6)
    assert planned.deletes == (), "decided, not done"
    assert status.suspension is not None
    assert status.suspension.stop_time == at(6)
    planned, status = look(status, PODS, training(20, 20, 6), seconds=7)
    assert names(planned) == ["tiny-0-0", "tiny-0-1"]
    assert true(status)[ConditionType.RECONCILING] is Reason.SUSPENDING
    assert status.phase is Phase.SUSPENDING


def test_the_wait_has_a_bound() -> None:
    _, status = look(trained(17, 10), PODS, training(17, 10))
    planned, _ = look(status, PODS, training(17, 10), seconds=118)
    assert planned.requeue_after == pytest.approx(2.0)
    _, status = look(status, PODS, training(17, 10), seconds=120)
    assert status.suspension is not None
    assert status.suspension.stop_time == at(120)


@pytest.mark.parametrize(
    ("step", "saved", "pace", "policy"),
    [
        (11, 10, 20.0, {}),  # 180 s away
        (17, 10, 2.0, {"checkpointWaitSeconds": 0}),
        (17, 10, 2.0, {"checkpointWaitSeconds": 5}),
        (20, 20, 2.0, {}),  # just saved
    ],
)
def test_a_checkpoint_that_is_far_is_not_waited_for(step: int, saved: int, pace: float, policy: dict[str, int]) -> None:
    job = SUSPENDED.spec(suspendPolicy=policy)
    _, status = look(trained(step, saved, pace), PODS, training(step, saved), job=job)
    assert status.suspension is not None
    assert (status.suspension.awaited_step, status.suspension.stop_time) == (None, NOW)


def test_a_checkpoint_that_is_being_written_is_waited_for() -> None:
    _, status = look(trained(20, 10), PODS, training(20, 10))
    assert status.suspension is not None
    assert status.suspension.awaited_step == 20


def test_a_job_without_periodic_checkpoints_or_steps_is_stopped_at_once() -> None:
    never = SUSPENDED.config("exp_manager.checkpoint_callback_params.every_n_train_steps", 0)
    status = trained(17, 10).model_copy(update={"config_hash": ""})
    _, status = look(status, PODS, training(17, 10), job=never)
    assert status.suspension is not None
    assert status.suspension.stop_time == NOW
    _, status = look(known(JOB, *PODS).status, PODS)
    assert status.suspension is not None
    assert status.suspension.stop_time == NOW


def test_a_pod_that_is_lost_while_a_checkpoint_is_waited_for_is_told_and_ends_the_wait() -> None:
    _, status = look(trained(17, 10), PODS, training(17, 10))
    _, status = look(status, PODS[:1], training(17, 10), seconds=1)
    assert [entry.cause for entry in status.restarts] == [Reason.POD_DELETED]
    planned, status = look(status, PODS[:1], training(17, 10), seconds=2)
    assert planned.creates == ()
    assert status.suspension is not None
    assert status.suspension.stop_time == at(2)


def test_what_pods_do_that_were_told_to_go_is_no_failure() -> None:
    _, status = look(known(JOB, *PODS).status, PODS)
    for pods in (
        [PODS[0].terminating(), PODS[1].failed(143).terminating()],
        [PODS[0].failed(1)],
        [],
    ):
        planned, status = look(status, pods, seconds=9)
        assert planned.creates == ()
    assert (status.restarts, status.attempt, status.pods) == ((), 0, ())
    assert status.phase is Phase.SUSPENDED


def test_pods_that_had_ended_stay_for_their_logs_and_those_on_a_lost_node_are_forced() -> None:
    _, status = look(known(JOB, *PODS).status, PODS)
    seen = observed(reparsed(SUSPENDED, status), [PODS[0].failed(1), PODS[1].terminating()], lost_nodes={"node-1"})
    planned, _ = one_pass(seen)
    assert [(one.name, one.force) for one in planned.deletes] == [("tiny-0-1", True)]


def test_a_suspended_job_is_written_once_and_looked_at_no_more() -> None:
    status = suspended(trained(11, 10, 20.0))
    planned, again = look(status, [], seconds=600)
    assert (planned.requeue_after, again) == (None, status)
    assert status.ready_nodes == 0
    assert status.progress is not None
    assert "after step 11" in next(c.message for c in status.conditions if c.type is ConditionType.SUSPENDED)


def test_to_go_on_is_a_new_attempt_that_is_told_and_not_counted() -> None:
    status = suspended(trained(11, 10, 20.0), 5)
    planned, status = look(status, [], seconds=605, job=TWO)
    assert planned.creates == ()
    assert (status.attempt, status.suspension, status.suspended_seconds) == (1, None, 600)
    assert (status.gang_failures, status.phase) == (0, Phase.PENDING)
    (line,) = status.restarts
    assert (line.restart_scope, line.cause, line.suspended_seconds, line.step) == (
        RestartScope.GANG,
        Reason.SUSPENDED,
        600,
        11,
    )
    planned, status = look(status, [], seconds=606, job=TWO)
    assert [create.name for create in planned.creates] == ["tiny-1-0", "tiny-1-1"]
    assert status.phase is Phase.STARTING


def test_what_a_suspension_cost_is_in_the_ledger_and_other_recoveries_do_not_include_it() -> None:
    _, status = look(trained(17, 10, 20.0), PODS[:1], job=TWO)
    assert [entry.cause for entry in status.restarts] == [Reason.POD_DELETED]
    _, status = look(status, PODS, seconds=10)
    _, status = look(status, [], seconds=20)
    _, status = look(status, [], seconds=1010, job=TWO)
    assert status.attempt == 1
    pods = [pod.uid(f"new-{n}").labels(**{"neurontraining.dev/attempt": "1"}) for n, pod in enumerate(PODS)]
    report = make_report(pods[0].build(), JOB, at(1020)).recovery(0, 10, 7, at(1030)).step(11, at(1030)).build()
    _, status = look(status, pods, report, seconds=1031, job=TWO)
    assert status.phase is Phase.RUNNING
    assert [(e.cause, e.steps_lost, e.recovery_seconds) for e in status.restarts] == [
        (Reason.POD_DELETED, 7, 30.0),
        (Reason.SUSPENDED, 0, 20.0),
    ]


def test_a_wish_that_is_withdrawn_before_the_stop_changes_nothing() -> None:
    _, status = look(trained(17, 10), PODS, training(17, 10))
    planned, status = look(status, PODS, training(17, 10), seconds=3, job=TWO)
    assert (planned.deletes, status.suspension, status.attempt, status.restarts) == ((), None, 0, ())
    assert status.phase is Phase.RUNNING


def test_pods_of_the_attempt_before_go_before_new_ones_come() -> None:
    _, status = look(known(JOB, *PODS).status, PODS)
    _, status = look(status, PODS, job=TWO)
    planned, status = look(status, [PODS[0].terminating(), PODS[1]], job=TWO)
    assert (names(planned), planned.creates) == (["tiny-0-1"], ())


def test_a_job_that_ends_while_it_is_told_to_go_has_succeeded() -> None:
    _, status = look(known(JOB, *PODS).status, PODS)
    _, status = look(status, [pod.succeeded() for pod in PODS])
    assert status.phase is Phase.SUCCEEDED


def test_a_job_that_cannot_resume_is_not_stopped() -> None:
    cannot = TWO.cannot_resume()
    first = known(cannot.build(), *PODS)
    report = training(17, 0)
    _, status = one_pass(observed(first, PODS, [report]))
    planned, after = look(status, PODS, report, job=cannot.spec(suspend=True))
    assert (planned.deletes, after.suspension, after.phase) == ((), None, Phase.RUNNING)
    told = next(c for c in after.conditions if c.type is ConditionType.SUSPENDED)
    assert (told.status, told.reason) == ("False", Reason.CANNOT_RESUME)
    assert "Delete the job" in told.message
    assert [(one.kind, one.reason) for one in announcements(status, after)] == [("Warning", "CannotResume")]


def test_a_job_that_cannot_resume_is_not_begun_again_by_going_on() -> None:
    cannot = TWO.cannot_resume()
    status = suspended(trained(11, 10, 20.0)).model_copy(update={"config_hash": ""})
    _, status = look(status, [], job=cannot)
    assert status.phase is Phase.FAILED
    assert true(status)[ConditionType.FAILED] is Reason.CANNOT_RESUME


def test_a_refused_job_is_suspended_all_the_same() -> None:
    gone = ConfigText(None, "there is no ConfigMap c. Create it.")
    job = reparsed(SUSPENDED, known(JOB, *PODS).status)
    _, status = one_pass(observed(job, PODS, config=gone))
    planned, status = one_pass(observed(reparsed(SUSPENDED, status), PODS, config=gone))
    assert names(planned) == ["tiny-0-0", "tiny-0-1"]
    _, status = one_pass(observed(reparsed(SUSPENDED, status), [], config=gone))
    assert status.phase is Phase.PENDING
    assert true(status) == {
        ConditionType.STALLED: Reason.CONFIG_MAP_NOT_FOUND,
        ConditionType.SUSPENDED: Reason.SUSPENDED,
    }


def test_each_stage_is_one_event() -> None:
    stages = [trained(17, 10)]
    for seconds, pods, reports, job in (
        (0, PODS, [training(17, 10)], SUSPENDED),
        (1, PODS, [training(18, 10)], SUSPENDED),
        (6, PODS, [training(20, 20)], SUSPENDED),
        (7, PODS, [], SUSPENDED),
        (8, [], [], SUSPENDED),
        (9, [], [], SUSPENDED),
        (60, [], [], TWO),
    ):
        stages.append(look(stages[-1], pods, *reports, seconds=seconds, job=job)[1])
    told = [one for before, after in pairwise(stages) for one in announcements(before, after)]
    assert [(one.kind, one.reason) for one in told] == [
        ("Normal", "WaitingForCheckpoint"), ("Normal", "Suspended"), ("Normal", "Resumed"),
    ]  # fmt: skip
    assert told[-1].note == "The job was suspended for 54 s by spec.suspend; it continues with new pods."


def test_the_same_input_gives_the_same_plan() -> None:
    def seen(status: JobStatus) -> NeuronTrainingJob:
        return reparsed(SUSPENDED, status)

    for status in (known(JOB, *PODS).status, started(JOB).status, trained(17, 10)):
        found = observed(seen(status), PODS, [training(17, 10)])
        assert plan(found, OPTIONS, NOW) == plan(found, OPTIONS, NOW)


def test_the_last_checkpoint_is_still_seen_while_the_pods_go() -> None:
    _, status = look(trained(11, 10, 20.0), PODS, training(11, 10))
    going = [pod.terminating() for pod in PODS]
    last = training(12, 12, 20).model_copy(update={"phase": TrainerPhase.SAVING})
    _, status = look(status, going, last, seconds=21)
    assert status.checkpoint is not None
    assert status.checkpoint.step == 12
