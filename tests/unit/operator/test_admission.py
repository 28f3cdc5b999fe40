"""May the pods start? The reason is out of the closed list, and the scheduler is quoted; queueing burns no deadline."""

from dataclasses import replace
from typing import Any

import pytest

from builders import NOW, OPTIONS, PodBuilder, at, observed, rfc3339
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import Condition, ConditionStatus, JobStatus, Phase
from neuron_operator.planning.observation.observation import Child, SchedulerState
from neuron_operator.planning.outcome import finalize_status
from neuron_operator.planning.plan import PlanOutcome
from neuron_operator.planning.planner import plan
from neuron_operator.planning.scheduling.registry import ADAPTERS
from neuron_operator.planning.status.changes import announcements

from .passes import PODS, TWO, known, one_pass, started, true

GATE = "kueue.x-k8s.io/admission"
SERVED = SchedulerState(served=True, queue=True)
BARE = [PodBuilder({**pod.body, "spec": {}, "status": {"phase": "Pending"}}) for pod in PODS]
"""Freshly created."""


def asked(gang: str, **values: Any) -> NeuronTrainingJob:
    scheduling = {"gang": gang, **({"queueName": "team"} if gang == "Kueue" else {})}
    return started(TWO.spec(scheduling=scheduling, **values).build())


def gated(*, managed: bool = True) -> list[PodBuilder]:
    marks = {"kueue.x-k8s.io/managed": "true"} if managed else {}
    return [pod.labels(**marks)._with("spec", schedulingGates=[{"name": GATE}]) for pod in BARE]


def created(pods: list[PodBuilder], seconds: float = 0) -> list[PodBuilder]:
    return [pod._with("metadata", creationTimestamp=rfc3339(at(seconds))) for pod in pods]


def body(name: str = "tiny-0", phase: str = "", **conditions: tuple[str, str]) -> SchedulerState:
    """A group with conditions: type to status and message."""
    told = [{"type": kind, "status": status, "message": text, "lastTransitionTime": rfc3339(at(500))}
            for kind, (status, text) in conditions.items()]  # fmt: skip
    return replace(
        SERVED, groups=(Child("", {"metadata": {"name": name}, "status": {"phase": phase, "conditions": told}}),)
    )


def admitted(status: JobStatus) -> Condition:
    return next(one for one in status.conditions if one.type is ConditionType.ADMITTED)


# ---- before a pod is made -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sight", "reason", "words"),
    [
        (SchedulerState(served=False), Reason.SCHEDULER_NOT_INSTALLED, ("kueue.x-k8s.io/v1beta2", "No pod is created")),
        (SchedulerState(served=True, queue=False), Reason.QUEUE_NOT_FOUND, ("LocalQueue team", "namespace team")),
    ],
)
def test_without_scheduler_or_queue_nothing_is_created_and_the_job_says_what_to_do(
    sight: SchedulerState, reason: Reason, words: tuple[str, ...]
) -> None:
    planned, status = one_pass(observed(asked("Kueue"), service=None, config_map=None, scheduler=sight))
    assert (planned.creates, planned.applies) == ((), ())
    assert true(status)[ConditionType.STALLED] is reason
    assert (admitted(status).status, admitted(status).reason) == (ConditionStatus.FALSE, reason)
    assert all(word in admitted(status).message for word in (*words, "the job then continues"))
    assert planned.requeue_after == OPTIONS.wait_seconds


@pytest.mark.parametrize("gang", list(ADAPTERS))
def test_every_mechanism_says_that_its_api_is_missing_and_goes_on_once_it_is_there(gang: str) -> None:
    job = asked(gang)
    _, status = one_pass(observed(job, scheduler=SchedulerState(served=False)))
    assert admitted(status).reason is Reason.SCHEDULER_NOT_INSTALLED
    later = job.model_copy(update={"status": status})
    planned, _ = one_pass(observed(later, scheduler=SERVED))
    assert len(planned.creates) == 2


def test_a_scheduler_that_the_operator_has_no_rights_for_is_refused_with_the_helm_value() -> None:
    options = replace(OPTIONS, gang_schedulers=frozenset())
    planned = plan(observed(asked("Volcano")), options, NOW)
    status = finalize_status(planned, PlanOutcome(), NOW)
    assert planned.creates == ()
    assert true(status)[ConditionType.STALLED] is Reason.SCHEDULER_NOT_ENABLED
    assert "gangSchedulers" in admitted(status).message


def test_a_queue_that_nobody_may_look_at_keeps_no_job() -> None:
    planned, _ = one_pass(observed(asked("Volcano"), scheduler=SchedulerState(served=True, queue=None)))
    assert len(planned.creates) == 2


def test_a_job_without_a_gang_is_admitted_by_nobody_from_the_first_pass_on() -> None:
    _, status = one_pass(observed(TWO.build()))
    assert (admitted(status).status, admitted(status).reason) == (ConditionStatus.TRUE, Reason.NOT_QUEUED)


# ---- what the schedulers say ----------------------------------------------------------------------------------------

NO_ROOM = {"QuotaReserved": ("False", "couldn't assign flavors: insufficient unused quota for cpu.")}


@pytest.mark.parametrize(
    ("gang", "pods", "sight", "reason", "words"),
    [
        ("Kueue", gated(), SERVED, Reason.WAITING_FOR_QUOTA, "Kueue has made no Workload of them yet"),
        ("Kueue", gated(), body(), Reason.WAITING_FOR_QUOTA, "Kueue has not looked at them yet"),
        ("Kueue", gated(), body(**NO_ROOM), Reason.WAITING_FOR_QUOTA,
         "Kueue says: couldn't assign flavors: insufficient unused quota for cpu."),
        ("Kueue", gated(), body(Evicted=("True", "Preempted to accommodate a workload")), Reason.WAITING_FOR_QUOTA,
         "Kueue says: Preempted to accommodate a workload."),
        ("Kueue", gated(managed=False), SERVED, Reason.QUEUE_NOT_IN_CHARGE, "managedJobsNamespaceSelector"),
        ("Volcano", BARE, body(phase="Pending", Unschedulable=("True", "queue resource quota insufficient")),
         Reason.WAITING_FOR_QUOTA, "Queue default. Volcano says: queue resource quota insufficient."),
        ("Volcano", BARE, body(phase="Inqueue", Unschedulable=("True", "2/2 tasks in gang unschedulable")),
         Reason.WAITING_FOR_GANG, "Volcano says: 2/2 tasks in gang unschedulable."),
        ("Coscheduling", [BARE[0], BARE[1].unschedulable("0/3 nodes are available.")], SERVED,
         Reason.WAITING_FOR_GANG, "The Coscheduling plugin says: 0/3 nodes are available."),
        ("Workload", BARE, body(PodGroupInitiallyScheduled=("False", "no room for 2 pods")),
         Reason.WAITING_FOR_GANG, "The scheduler says: no room for 2 pods."),
    ],
)  # fmt: skip
def test_a_gang_that_waits_says_for_what_in_the_schedulers_words(
    gang: str, pods: list[PodBuilder], sight: SchedulerState, reason: Reason, words: str
) -> None:
    job = asked(gang)
    planned, status = one_pass(observed(job, pods, scheduler=sight))
    told = admitted(status)
    assert (told.status, told.reason) == (ConditionStatus.FALSE, reason)
    assert words in told.message
    assert status.phase is Phase.PENDING
    assert planned.requeue_after == OPTIONS.wait_seconds, "no watch tells what the scheduler decides"
    headline = ConditionType.STALLED if reason is Reason.QUEUE_NOT_IN_CHARGE else ConditionType.RECONCILING
    assert true(status)[headline] is reason


@pytest.mark.parametrize("gang", ["Volcano", "Coscheduling", "Workload"])
def test_pods_that_no_scheduler_has_looked_at_for_a_minute_name_the_scheduler_that_does_not_run(gang: str) -> None:
    pods = [pod._with("spec", schedulerName="mine") for pod in created(BARE)]
    job = asked(gang)
    _, early = one_pass(observed(job, pods, scheduler=SERVED), 59)
    assert admitted(early).reason in (Reason.WAITING_FOR_GANG, Reason.WAITING_FOR_QUOTA)
    _, late = one_pass(observed(job, pods, scheduler=SERVED), 61)
    assert true(late)[ConditionType.STALLED] is Reason.SCHEDULER_SILENT
    assert "no scheduler called mine runs" in admitted(late).message


@pytest.mark.parametrize(
    ("gang", "pods", "sight"),
    [
        ("Kueue", BARE, body(Admitted=("True", "The workload is admitted"))),
        ("Volcano", PODS, body(phase="Running")),
        ("Volcano", BARE, body(phase="Running")),
        ("Coscheduling", PODS, SERVED),
        ("Workload", PODS, SERVED),
        ("Workload", BARE, body(PodGroupInitiallyScheduled=("True", ""))),
    ],
)
def test_a_gang_that_has_its_place_is_admitted(gang: str, pods: list[PodBuilder], sight: SchedulerState) -> None:
    _, status = one_pass(observed(asked(gang), pods, scheduler=sight))
    assert (admitted(status).status, admitted(status).reason) == (ConditionStatus.TRUE, Reason.ADMITTED)


@pytest.mark.parametrize("gang", ["Volcano", "Coscheduling", "Workload"])
def test_a_pod_that_replaces_another_of_an_admitted_gang_is_the_schedulers_business_alone(gang: str) -> None:
    pods = [PODS[0], BARE[1].unschedulable("0/3 nodes are available.")]
    _, status = one_pass(observed(asked(gang), pods, scheduler=SERVED))
    assert admitted(status).reason is Reason.ADMITTED
    assert true(status)[ConditionType.RECONCILING] is Reason.PODS_PENDING


def test_a_replacement_at_kueues_gate_is_told() -> None:
    pods = [PODS[0], gated()[1]]
    _, status = one_pass(observed(asked("Kueue"), pods, scheduler=body(Admitted=("True", "The workload is admitted"))))
    assert admitted(status).reason is Reason.WAITING_FOR_QUOTA
    assert "1 pods wait in LocalQueue team. Kueue says: The workload is admitted." in admitted(status).message


def test_each_way_into_a_queue_and_out_of_it_is_one_event() -> None:
    job = asked("Kueue")
    _, queued = one_pass(observed(job, gated(), scheduler=body(**NO_ROOM)))
    said = [(one.reason, one.action) for one in announcements(job.status, queued)]
    assert ("WaitingForQuota", "Queue") in said
    assert not any(one.action == "Queue" for one in announcements(queued, queued))
    later = job.model_copy(update={"status": queued})
    _, going = one_pass(observed(later, BARE, scheduler=body(Admitted=("True", ""))))
    assert ("Admitted", "Admit") in [(one.reason, one.action) for one in announcements(queued, going)]


def test_what_was_said_stays_while_a_decision_is_only_written_down() -> None:
    job = known(asked("Coscheduling"), *PODS, start_time=NOW)
    planned, status = one_pass(observed(job, [PODS[0]], scheduler=SERVED))
    assert planned.requeue_after == 0.0, "the loss of a pod is written down"
    assert admitted(status).reason is Reason.ADMITTED


# ---- deadlines ------------------------------------------------------------------------------------------------------

BOUNDS = {"schedulingSeconds": 60, "admissionSeconds": 3600}


def end(job: NeuronTrainingJob, pods: list[PodBuilder], sight: SchedulerState, seconds: float) -> Condition | None:
    _, status = one_pass(observed(job, pods, scheduler=sight), seconds)
    failed = next(one for one in status.conditions if one.type is ConditionType.FAILED)
    return failed if failed.status is ConditionStatus.TRUE else None


def test_time_in_a_queue_is_not_counted_as_scheduling() -> None:
    job, pods = asked("Kueue", startupPolicy={"schedulingSeconds": 60}), created(gated())
    assert end(job, pods, body(**NO_ROOM), 86_400) is None
    free = created(BARE)
    taken = body(Admitted=("True", ""))
    assert end(job, free, taken, 559) is None, "admitted at 500"
    late = end(job, free, taken, 560)
    assert late is not None and late.reason is Reason.SCHEDULING_DEADLINE_EXCEEDED


def test_a_gang_that_nobody_admits_ends_at_its_own_bound_with_the_queues_words() -> None:
    job, pods = asked("Kueue", startupPolicy=BOUNDS), created(gated())
    assert end(job, pods, body(**NO_ROOM), 3599) is None
    late = end(job, pods, body(**NO_ROOM), 3600)
    assert late is not None and late.reason is Reason.ADMISSION_DEADLINE_EXCEEDED
    assert "startupPolicy.admissionSeconds (3600)" in late.message
    assert "insufficient unused quota" in late.message


@pytest.mark.parametrize("gang", ["Volcano", "Coscheduling", "Workload"])
def test_waiting_for_room_for_all_is_waiting_to_be_admitted(gang: str) -> None:
    pods = created([pod.unschedulable("0/1 nodes are available.") for pod in BARE])
    job = asked(gang, startupPolicy=BOUNDS)
    assert end(job, pods, SERVED, 3599) is None
    late = end(job, pods, SERVED, 3600)
    assert late is not None and late.reason is Reason.ADMISSION_DEADLINE_EXCEEDED
