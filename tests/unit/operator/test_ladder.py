"""What is done about lost pods, and within which budget: process, pod, gang, the end."""

import pytest

from builders import NOW, PodBuilder, accepted, at, make_job, make_pod, observed, running_gang, with_status
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import CountedFailure, JobStatus, PodStatus, ProgressStatus, Restart, RestartScope
from neuron_operator.planning.failures import gang as gangs
from neuron_operator.planning.restarts import ladder
from neuron_operator.planning.restarts.ladder import RestartDecision
from neuron_operator.planning.status.conditions import End

JOB = make_job().nodes(3).restart_policy(maxGangRestarts=2)
PODS = running_gang(JOB.build())
RECORDS = tuple(PodStatus(name=f"tiny-0-{n}", uid=f"pod-0-{n}", node=f"node-{n}", ready=True) for n in range(3))
EVICTED = Restart(
    restart_scope=RestartScope.POD, cause=Reason.POD_EVICTED, time=NOW, attempt=0, pod="tiny-0-2", pod_uid="old"
)


USED_UP = {"gang_failures": 2, "counted_failures": (CountedFailure(cause=Reason.POD_FAILED, time=at(0)),) * 2}
"""Against a budget of 2."""


def climb(
    *pods: PodBuilder, job: NeuronTrainingJob | None = None, when: float = 60, **status: object
) -> RestartDecision | None:
    job = with_status(job or JOB.build(), **{"pods": RECORDS, **status})
    gang = gangs.assemble(observed(job, pods), job.status, 3)
    return ladder.decide_restart(gang, job.status, job.spec.restart_policy, accepted(job).config, at(when))


def seen(status: JobStatus) -> dict[str, object]:
    """What a status says of failures, for the next pass."""
    return {name: getattr(status, name) for name in ("pods", "restarts", "counted_failures", "gang_failures",
                                                     "restart_count")}  # fmt: skip


def replaced(decision: RestartDecision | None) -> JobStatus:
    assert decision is not None
    assert decision.end is None
    return decision.status


def ended(decision: RestartDecision | None) -> End:
    assert decision is not None
    assert decision.end is not None
    return decision.end


def test_nothing_is_decided_while_all_is_well() -> None:
    assert climb(*PODS) is None


def test_one_lost_pod_is_replaced_alone() -> None:
    status = replaced(climb(*PODS[:2]))
    (entry,) = status.restarts
    assert (entry.restart_scope, entry.cause, entry.pod, entry.pod_uid) == (
        RestartScope.POD,
        Reason.POD_DELETED,
        "tiny-0-2",
        "pod-0-2",
    )
    assert (entry.node, entry.time, entry.attempt) == ("node-2", at(60), 0)
    assert status.attempt == status.gang_failures == 0
    assert [record.lost for record in status.pods] == [False, False, True]


def test_the_time_to_detect_is_from_the_end_of_the_container_where_the_kubelet_tells_it() -> None:
    ended = replaced(climb(*PODS[:2], PODS[2].failed(1, "ValueError: bad", at=at(58)))).restarts[0]
    assert ended.detection_seconds == 2.0
    assert replaced(climb(*PODS[:2])).restarts[0].detection_seconds is None
    ahead = replaced(climb(*PODS[:2], PODS[2].failed(1, "ValueError: bad", at=at(61)))).restarts[0]
    assert ahead.detection_seconds is None


def test_a_told_loss_is_not_told_again() -> None:
    status = replaced(climb(*PODS[:2]))
    assert climb(*PODS[:2], pods=status.pods) is None


def test_pods_that_fall_together_are_lines_of_one_failure() -> None:
    fallen = (PODS[0], make_pod(JOB.build(), 1).oom_killed(), make_pod(JOB.build(), 2).oom_killed())
    status = replaced(climb(*fallen))
    assert status.restart_count == 2
    assert status.gang_failures == 1


def test_pods_that_are_seen_to_fall_one_after_the_other_cost_no_more_than_when_seen_at_once() -> None:
    """Both agents killed at once were two failures when the operator was quick (make test-faults, 2026-11-26)."""
    one = replaced(climb(*PODS[:2], PODS[2].failed(137), when=60))
    two = replaced(climb(PODS[0], PODS[1].failed(137), when=61, **seen(one)))
    assert (two.restart_count, two.gang_failures) == (2, 1)
    late = replaced(climb(PODS[0], PODS[1].failed(137), when=71, **seen(one)))
    assert late.gang_failures == 2
    evicted = replaced(climb(*PODS[:2], PODS[2].turned_away("Evicted"), when=60))
    assert replaced(climb(PODS[0], PODS[1].failed(137), when=61, **seen(evicted))).gang_failures == 1


def test_a_pod_that_falls_again_is_another_failure_however_soon() -> None:
    one = replaced(climb(*PODS[:2], PODS[2].failed(137), when=60))
    records = (*RECORDS[:2], RECORDS[2].model_copy(update={"uid": "pod-0-2b"}))
    again = replaced(climb(*PODS[:2], PODS[2].uid("pod-0-2b").failed(137), when=62, **seen(one) | {"pods": records}))
    assert again.gang_failures == 2
    both = replaced(climb(PODS[0], PODS[2].uid("pod-0-2b").failed(137), when=62, **seen(one) | {"pods": records}))
    assert both.gang_failures == 2


def test_a_launcher_that_gives_up_costs_the_whole_gang_and_a_part_of_the_budget() -> None:
    status = replaced(climb(*PODS[:2], PODS[2].failed(1, "ValueError: bad")))
    assert (status.attempt, status.gang_failures, status.restart_count, status.pods) == (1, 1, 1, ())
    assert status.restarts[0].restart_scope is RestartScope.GANG
    assert status.restarts[0].message == "ValueError: bad"
    assert status.restarts[0].exit_code == 1


@pytest.mark.parametrize("pod", [PODS[2].failed(1, "ValueError: bad."), PODS[2].oom_killed(), PODS[2].failed(137)])
def test_a_used_up_budget_ends_the_job_with_the_last_failure(pod: PodBuilder) -> None:
    end = ended(climb(*PODS[:2], pod, **USED_UP))
    assert end.reason is Reason.BUDGET_EXHAUSTED
    assert "restartPolicy.maxGangRestarts (2) is used up" in end.message
    assert "tiny-0-2 on node node-2" in end.message
    assert ".." not in end.message


@pytest.mark.parametrize(
    "pod",
    [PODS[2].failed(143), PODS[2].terminating(), PODS[2].disrupted().terminating(), PODS[2].turned_away("Evicted")],
)
def test_a_disruption_is_never_counted(pod: PodBuilder) -> None:
    status = replaced(climb(*PODS[:2], pod, **USED_UP))
    assert status.gang_failures == 2
    assert status.restarts[-1].restart_scope is RestartScope.POD


def test_exit_code_2_ends_the_job_at_once_with_what_the_launcher_said() -> None:
    end = ended(climb(*PODS[:2], PODS[2].failed(2, "data.train_dir: /data is empty. Mount the claim.")))
    assert end.reason is Reason.TRAINER_REFUSED_CONFIG
    assert end.message == "Pod tiny-0-2: data.train_dir: /data is empty. Mount the claim."


def test_exit_code_2_wins_over_every_other_loss() -> None:
    end = ended(climb(PODS[0].failed(1), PODS[1].terminating(), PODS[2].failed(2)))
    assert end.reason is Reason.TRAINER_REFUSED_CONFIG
    assert "gave no message" in end.message


def test_a_job_that_has_ended_on_every_pod_has_succeeded() -> None:
    assert ended(climb(*(pod.succeeded() for pod in PODS))).success


def test_a_succeeded_pod_waits_for_the_others() -> None:
    assert climb(PODS[0].succeeded(), *PODS[1:]) is None


def test_success_is_remembered_when_the_pods_are_gone() -> None:
    done = tuple(record.model_copy(update={"succeeded": True}) for record in RECORDS)
    assert ended(climb(pods=done)).success


def test_a_pod_lost_after_another_has_ended_starts_the_gang_again_uncounted() -> None:
    status = replaced(climb(PODS[0].succeeded(), PODS[1], **USED_UP))
    assert status.restarts[0].cause is Reason.INCOMPLETE_COMPLETION
    assert (status.attempt, status.gang_failures) == (1, 2)


def test_a_pod_that_fails_by_itself_after_another_has_ended_is_counted() -> None:
    fallen = (PODS[0].succeeded(), PODS[1], PODS[2].oom_killed())
    assert replaced(climb(*fallen)).gang_failures == 1
    assert ended(climb(*fallen, **USED_UP)).reason is Reason.BUDGET_EXHAUSTED


def test_pods_that_gave_up_waiting_for_an_evicted_one_are_not_counted() -> None:
    status = replaced(climb(PODS[0].failed(1), PODS[1].failed(1), make_pod(JOB.build(), 2), restarts=(EVICTED,)))
    assert (status.attempt, status.gang_failures) == (1, 0)
    assert status.restarts[-1].cause is Reason.POD_EVICTED


def test_an_eviction_excuses_only_its_own_attempt() -> None:
    job = JOB.build()
    pods = [make_pod(job, n, 1).ready() for n in range(2)]
    records = tuple(PodStatus(name=f"tiny-1-{n}", uid=f"pod-1-{n}") for n in range(3))
    last = make_pod(job, 2, 1).failed(1, "ValueError: bad")
    status = replaced(climb(*pods, last, attempt=1, pods=records, restarts=(EVICTED,)))
    assert status.gang_failures == 1


def test_pods_that_gave_up_while_the_operator_was_away_are_excused_by_the_disruption_seen_with_them() -> None:
    fallen = (PODS[0].failed(1, "the other nodes did not come within 900 s: x"), PODS[1], PODS[2].terminating())
    status = replaced(climb(*fallen, **USED_UP))
    assert (status.attempt, status.gang_failures) == (1, 2)
    assert status.restarts[-1].cause is Reason.POD_DELETED


@pytest.mark.parametrize("pod", [PODS[2].terminating(), PODS[2].failed(1), PODS[2].oom_killed()])
def test_a_job_that_cannot_resume_is_not_silently_begun_again(pod: PodBuilder) -> None:
    job = JOB.cannot_resume().build()
    end = ended(climb(*PODS[:2], pod, job=job, progress=ProgressStatus(step=40)))
    assert end.reason is Reason.CANNOT_RESUME
    assert "exp_manager.resume_if_exists is False" in end.message
    assert "40 finished steps" in end.message


def test_a_job_that_cannot_resume_may_begin_again_before_its_first_step() -> None:
    job = JOB.cannot_resume().build()
    assert replaced(climb(*PODS[:2], job=job, progress=ProgressStatus(step=0))).restart_count == 1
    assert replaced(climb(*PODS[:2], job=job)).restart_count == 1


def test_the_first_failure_is_told_and_not_its_victims() -> None:
    victim = PODS[0].failed(1, "RuntimeError: Connection reset by peer", at=at(1))
    status = replaced(climb(victim, PODS[1].failed(1, "ValueError: bad", at=at(2)), PODS[2]))
    assert status.restarts[0].pod == "tiny-0-1"
