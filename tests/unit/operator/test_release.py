"""Kueue keeps ended pods until a replacement is there; the replacement has their name: the operator lets them go."""

from typing import Any

import pytest

from builders import PodBuilder, make_pod, observed, with_status
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import Phase
from neuron_operator.planning.observation.observation import SchedulerState
from neuron_operator.planning.plan import Release

from .passes import PODS, TWO, known, one_pass, started

JOB = started(TWO.spec(scheduling={"gang": "Kueue", "queueName": "team"}).build())
FINALIZER = "kueue.x-k8s.io/managed"
SIGHT = SchedulerState(served=True, queue=True)


def held(pod: PodBuilder, *others: str) -> PodBuilder:
    return pod._with("metadata", finalizers=[*others, FINALIZER], resourceVersion="9")


def releases(*pods: PodBuilder, job: Any = JOB, **values: Any) -> tuple[Release, ...]:
    return one_pass(observed(job, pods, scheduler=SIGHT, **values))[0].releases


def test_a_pod_that_is_to_be_replaced_is_let_go_of_when_nothing_runs_in_it() -> None:
    going = held(PODS[1].terminating(), "mine/keep")
    job = known(JOB, *PODS)
    assert releases(PODS[0], going, job=job) == (), "it still saves"
    ended = held(PODS[1].failed(143).terminating(), "mine/keep")
    (one,) = releases(PODS[0], ended, job=job)
    assert one == Release("tiny-0-1", "pod-0-1", ("mine/keep",), "9", {})


@pytest.mark.parametrize("values", [{}, {"lost_nodes": frozenset({"node-1"})}])
def test_so_is_one_that_never_ran_or_whose_node_is_gone(values: dict[str, Any]) -> None:
    pod = make_pod(JOB, 1).terminating() if not values else PODS[1].terminating()
    assert [one.name for one in releases(PODS[0], held(pod), **values)] == ["tiny-0-1"]


def test_a_failed_pod_that_nobody_deletes_yet_is_not() -> None:
    assert releases(PODS[0], held(PODS[1].failed(1))) == ()


def test_one_with_a_container_beside_the_trainer_that_runs_is_not() -> None:
    assert releases(PODS[0], held(PODS[1].exited(1).terminating())) == ()


def test_pods_that_stay_for_their_logs_free_the_quota_when_the_job_is_over() -> None:
    over = with_status(JOB, phase=Phase.FAILED)
    (one,) = releases(held(PODS[0].failed(1)), job=over)
    assert one.annotations == {"kueue.x-k8s.io/retriable-in-group": "false"}
    assert one.finalizers == ()


def test_pods_of_an_earlier_job_of_the_same_name_are_let_go_of_too() -> None:
    left = held(PODS[0].failed(143).terminating()).build()
    planned, status = one_pass(observed(JOB, scheduler=SIGHT, foreign_pods=(left.name,), abandoned=(left,)))
    assert [one.name for one in planned.releases] == ["tiny-0-0"]
    assert planned.creates == ()
    assert any(one.reason is Reason.NAME_TAKEN for one in status.conditions)


def test_pods_of_a_job_that_is_being_deleted_are_let_go_of() -> None:
    job = TWO.spec(scheduling={"gang": "Kueue", "queueName": "team"}).being_deleted().build()
    assert [one.name for one in releases(held(PODS[0].failed(143).terminating()), job=job)] == ["tiny-0-0"]


def test_pods_without_kueues_finalizer_are_never_written_to() -> None:
    assert releases(PODS[0].failed(143).terminating(), PODS[1]) == ()


def test_a_group_that_kueue_preempts_is_a_disruption_that_no_budget_counts() -> None:
    job = known(JOB, *PODS)
    taken = [
        held(pod.terminating())._condition("TerminationTarget", "True", "WorkloadEvictedDueToPreempted",
                                           "Preempted to accommodate a workload")
        for pod in PODS
    ]  # fmt: skip
    _, status = one_pass(observed(job, taken, scheduler=SIGHT))
    assert [entry.cause for entry in status.restarts] == [Reason.POD_EVICTED] * 2
    assert "Preempted to accommodate a workload" in status.restarts[0].message
    assert status.gang_failures == 0
