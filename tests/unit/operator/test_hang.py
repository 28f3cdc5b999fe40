"""Processes that run and get nowhere: told by the launcher's clock, bounded by what they are doing."""

import pytest

from builders import at, make_report, observed
from neuron_api.resource.progress import Progress, TrainerPhase
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.spec import HangPolicy
from neuron_api.resource.status import JobStatus, Phase, ProgressStatus, RestartScope
from neuron_operator.planning.failures import hang

from .passes import JOB, PODS, TWO, known, one_pass, reparsed, true

POLICY = HangPolicy()
TRAINING = TrainerPhase.TRAINING


def report(phase: TrainerPhase, idle: float | None) -> Progress:
    return Progress(phase=phase, idle_seconds=idle)


def paced(seconds: float, steps: int = 50) -> ProgressStatus:
    return ProgressStatus(step=60, seconds_per_step=seconds, measured_steps=steps)


@pytest.mark.parametrize(
    ("phase", "progress", "bound"),
    [
        (TRAINING, None, 7200),
        (TRAINING, paced(1.0, steps=4), 7200),  # compiling
        (TRAINING, paced(1.0), 60),
        (TRAINING, paced(20.0), 200),
        (TrainerPhase.LOADING, paced(1.0), 3600),
        (TrainerPhase.SAVING, paced(1.0), 3600),
        (TrainerPhase.VALIDATING, paced(1.0), 7200),
    ],
)
def test_each_thing_that_processes_do_has_its_bound(
    phase: TrainerPhase, progress: ProgressStatus | None, bound: float
) -> None:
    assert hang.detect_hang(report(phase, bound), progress, POLICY) is None
    told = hang.detect_hang(report(phase, bound + 1), progress, POLICY)
    assert told is not None
    assert f": {bound} s)" in told


@pytest.mark.parametrize(
    "phase", [TrainerPhase.STARTING, TrainerPhase.RENDEZVOUS, TrainerPhase.SUCCEEDED, TrainerPhase.FAILED]
)
def test_who_waits_for_others_or_is_over_does_not_hang(phase: TrainerPhase) -> None:
    assert hang.detect_hang(report(phase, 1e9), paced(1.0), POLICY) is None


def test_silence_is_no_hang() -> None:
    assert hang.detect_hang(None, paced(1.0), POLICY) is None
    assert hang.detect_hang(report(TRAINING, None), paced(1.0), POLICY) is None


def test_the_policy_sets_every_bound_and_may_be_off() -> None:
    quick = HangPolicy(step_factor=3, min_step_seconds=10)
    assert hang.detect_hang(report(TRAINING, 31), paced(10.0), quick) is not None
    assert hang.detect_hang(report(TRAINING, 29), paced(10.0), quick) is None
    assert hang.detect_hang(report(TRAINING, 1e9), paced(10.0), HangPolicy(enabled=False)) is None


# ---- in the planner ------------------------------------------------------------------------------------------------


def trained() -> JobStatus:
    status = known(JOB, *PODS).status
    for step in range(1, 9):
        seen = make_report(PODS[0].build(), JOB).step(step, at(step)).checkpoint(5)
        _, status = one_pass(observed(reparsed(TWO, status), PODS, [seen]), step)
    assert status.progress is not None
    assert (status.progress.seconds_per_step, status.progress.measured_steps) == (1.0, 7)
    return status


def hung(idle: float = 61.0) -> Progress:
    seen = make_report(PODS[0].build(), JOB).step(8, at(8)).checkpoint(5).build()
    return seen.model_copy(update={"idle_seconds": idle})


def test_a_gang_that_hangs_is_replaced_and_no_process_is_blamed() -> None:
    planned, status = one_pass(observed(reparsed(TWO, trained()), PODS, [hung()]), 69)
    assert (planned.deletes, planned.creates) == ((), ()), "decided, not done"
    assert (status.attempt, status.gang_failures, status.phase) == (1, 0, Phase.RESTARTING)
    (line,) = status.restarts
    assert (line.restart_scope, line.cause, line.pod, line.rank, line.step) == (
        RestartScope.GANG,
        Reason.HANG,
        "",
        None,
        8,
    )
    assert [one.cause for one in status.counted_failures] == [Reason.HANG]
    told = next(c.message for c in status.conditions if c.type is ConditionType.RESTARTING)
    assert told == (
        "Hang: in a step for 61 s without anything new (hangPolicy.minStepSeconds: 60 s) after step 8. "
        "All pods are replaced."
    )
    planned, _ = one_pass(observed(reparsed(TWO, status), PODS, [hung()]), 70)
    assert [(one.name, one.grace) for one in planned.deletes] == [("tiny-0-0", 10), ("tiny-0-1", 10)]


def test_a_job_that_trains_is_left_alone() -> None:
    planned, status = one_pass(observed(reparsed(TWO, trained()), PODS, [hung(60)]), 69)
    assert (status.phase, status.restarts, planned.deletes) == (Phase.RUNNING, (), ())


def test_while_a_pod_is_missing_the_others_wait_and_do_not_hang() -> None:
    _, status = one_pass(observed(reparsed(TWO, trained()), PODS[:1], [hung()]), 69)
    assert [entry.cause for entry in status.restarts] == [Reason.POD_DELETED]
    _, status = one_pass(observed(reparsed(TWO, status), PODS[:1], [hung()]), 70)
    assert [entry.cause for entry in status.restarts] == [Reason.POD_DELETED]


def test_a_hang_over_its_budget_ends_the_job() -> None:
    job = TWO.spec(hangPolicy={"maxRestarts": 0})
    _, status = one_pass(observed(reparsed(job, trained()), PODS, [hung()]), 69)
    assert true(status)[ConditionType.FAILED] is Reason.BUDGET_EXHAUSTED
    told = next(c.message for c in status.conditions if c.type is ConditionType.FAILED)
    assert told.startswith("hangPolicy.maxRestarts (0) is used up. The last failure: Hang: in a step for 61 s")


def test_a_job_that_cannot_resume_is_not_begun_again_after_a_hang() -> None:
    status = trained().model_copy(update={"config_hash": ""})
    _, status = one_pass(observed(reparsed(TWO.cannot_resume(), status), PODS, [hung()]), 69)
    assert true(status)[ConditionType.FAILED] is Reason.CANNOT_RESUME


def test_hangs_and_failures_have_budgets_of_their_own() -> None:
    job = TWO.spec(hangPolicy={"maxRestarts": 1}, restartPolicy={"maxGangRestarts": 1})
    _, status = one_pass(observed(reparsed(job, trained()), PODS, [hung()]), 69)
    one_more = status.model_copy(update={"attempt": 0, "pods": trained().pods})
    _, status = one_pass(observed(reparsed(job, one_more), [PODS[0], PODS[1].failed(1)]), 70)
    assert not status.finished
    assert [one.cause for one in status.counted_failures] == [Reason.HANG, Reason.POD_FAILED]


def test_a_wait_for_a_checkpoint_has_its_own_bound() -> None:
    job = TWO.spec(suspend=True)
    _, status = one_pass(observed(reparsed(job, trained()), PODS, [hung(0)]), 9)
    assert status.suspension is not None
    assert status.suspension.awaited_step == 10
    _, status = one_pass(observed(reparsed(job, status), PODS, [hung(70)]), 79)
    assert status.restarts == ()
