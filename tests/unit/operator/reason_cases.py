"""Passes that tell a reason: of a configuration, of queues, of pods that come up, of suspensions (`test_reasons`)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from builders import NOW, OPTIONS, JobBuilder, PodBuilder, at, make_job, make_pod, make_report, observed, with_status
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.progress import Progress
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import JobStatus
from neuron_operator.planning.observation.observation import ConfigText, Observed, SchedulerState
from neuron_operator.planning.observation.waiting import Rejection
from neuron_operator.planning.outcome import finalize_status
from neuron_operator.planning.plan import PlanOutcome
from neuron_operator.planning.planner import plan
from neuron_operator.planning.status import refusal

from .passes import JOB, PODS, TWO, compiling, known, one_pass, reparsed, started

Case = Callable[[], JobStatus]

CASES: Final[dict[Reason, list[Case]]] = {}

CREATED: Final = "2026-11-24T12:00:00Z"
"""NOW, as the API server writes it."""
THERE: Final = SchedulerState(served=True, queue=True)


def reaches(reason: Reason) -> Callable[[Case], Case]:
    """Mark a function whose status tells the reason, as a condition's or as a cause in the ledger."""

    def register(case: Case) -> Case:
        CASES.setdefault(reason, []).append(case)
        return case

    return register


# ---- shorthand ---------------------------------------------------------------------------------------------------


def passed(seen: Observed, seconds: float = 0) -> JobStatus:
    return one_pass(seen, seconds)[1]


def alone(job: JobBuilder, *pods: PodBuilder, seconds: float = 0) -> JobStatus:
    return passed(observed(job.build(), pods), seconds)


def training(step: int, when: float = 0.0) -> Progress:
    return make_report(PODS[0].build(), JOB).step(step, at(when)).build()


def after(*pods: PodBuilder, job: NeuronTrainingJob = JOB, seconds: float = 1) -> JobStatus:
    """A gang was up; this is what is left of it."""
    return passed(observed(known(job, *PODS), pods), seconds)


@reaches(Reason.STATUS_REFUSED)
def a_crd_of_another_release() -> JobStatus:
    return refusal.explanation(JOB.status, "status.restarts[0].cause: Unsupported value", 1, NOW)


def of(job: JobBuilder, status: JobStatus, *pods: PodBuilder, seconds: float = 0) -> JobStatus:
    return passed(observed(reparsed(job, status), pods), seconds)


# ---- configuration -----------------------------------------------------------------------------------------------


@reaches(Reason.CONFIG_ACCEPTED)
def _accepted() -> JobStatus:
    return alone(TWO)


@reaches(Reason.CONFIG_ACCEPTED_WITH_WARNINGS)
def _one_node_without_a_claim() -> JobStatus:
    return alone(make_job().no_storage())


@reaches(Reason.CONFIG_INVALID)
def _misspelled() -> JobStatus:
    return alone(TWO.config("trainer.max_stepz", 5))


@reaches(Reason.CONFIG_MAP_NOT_FOUND)
def _no_config_map() -> JobStatus:
    job = TWO.config_from("files", "a.yaml").build()
    return passed(observed(job, config=ConfigText(None, "there is no ConfigMap files")))


@reaches(Reason.STORAGE_MISSING)
def _several_nodes_without_a_claim() -> JobStatus:
    return alone(TWO.no_storage())


# ---- queues and gangs ---------------------------------------------------------------------------------------------


@reaches(Reason.NOT_QUEUED)
def _no_gang() -> JobStatus:
    return alone(TWO)


def _queued(gang: str, *pods: PodBuilder, seconds: float = 0, sight: SchedulerState = THERE) -> JobStatus:
    job = TWO.spec(scheduling={"gang": gang, "queueName": "team"}, startupPolicy={"admissionSeconds": 600})
    return passed(observed(started(job.build()), pods, scheduler=sight), seconds)


@reaches(Reason.ADMITTED)
def _all_placed() -> JobStatus:
    return _queued("Coscheduling", *PODS)


@reaches(Reason.WAITING_FOR_QUOTA)
def _at_kueues_gate() -> JobStatus:
    return _queued("Kueue", _gated().labels(**{"kueue.x-k8s.io/managed": "true"}))


@reaches(Reason.WAITING_FOR_GANG)
def _no_room_for_all() -> JobStatus:
    return _queued("Coscheduling", make_pod(JOB).unschedulable("0/3 nodes are available"))


@reaches(Reason.SCHEDULER_NOT_ENABLED)
def _no_rights() -> JobStatus:
    job = started(TWO.spec(scheduling={"gang": "Volcano"}).build())
    return finalize_status(plan(observed(job), replace(OPTIONS, gang_schedulers=frozenset()), NOW), PlanOutcome(), NOW)


@reaches(Reason.SCHEDULER_NOT_INSTALLED)
def _no_scheduler() -> JobStatus:
    return _queued("Volcano", sight=SchedulerState(served=False))


@reaches(Reason.SCHEDULER_SILENT)
def _wrong_name() -> JobStatus:
    return _queued("Volcano", make_pod(JOB)._with("metadata", creationTimestamp=CREATED), seconds=61)


@reaches(Reason.QUEUE_NOT_FOUND)
def _no_queue() -> JobStatus:
    return _queued("Kueue", sight=SchedulerState(True, queue=False))


@reaches(Reason.QUEUE_NOT_IN_CHARGE)
def _namespace_without_kueue() -> JobStatus:
    return _queued("Kueue", _gated())


@reaches(Reason.ADMISSION_DEADLINE_EXCEEDED)
def _queued_for_long() -> JobStatus:
    return _queued("Kueue", _gated()._with("metadata", creationTimestamp=CREATED), seconds=600)


def _gated() -> PodBuilder:
    return make_pod(JOB)._with("spec", schedulingGates=[{"name": "kueue.x-k8s.io/admission"}])


# ---- pods --------------------------------------------------------------------------------------------------------


@reaches(Reason.NOT_STARTED)
def _waits_for_pods_of_an_earlier_attempt_to_go() -> JobStatus:
    return passed(observed(with_status(started(JOB), attempt=1), PODS))


@reaches(Reason.PODS_CREATED)
def _created() -> JobStatus:
    return passed(observed(started(JOB)))


@reaches(Reason.PODS_PENDING)
def _no_room() -> JobStatus:
    return after(PODS[0], make_pod(JOB, 1).unschedulable("0/3 nodes are available"))


@reaches(Reason.CLAIM_NOT_FOUND)
def _no_claim() -> JobStatus:
    return passed(observed(JOB, missing_claims=("training",)))


@reaches(Reason.IMAGE_PULL_FAILED)
def _no_image() -> JobStatus:
    return after(PODS[0], make_pod(JOB, 1).waiting("ErrImagePull"))


@reaches(Reason.POD_REJECTED)
def _quota() -> JobStatus:
    planned = plan(observed(started(JOB)), OPTIONS, NOW)
    return finalize_status(planned, PlanOutcome(rejections=(Rejection("Pod tiny-0-0", "exceeded quota"),)), NOW)


@reaches(Reason.NAME_TAKEN)
def _pods_of_an_earlier_job() -> JobStatus:
    return passed(observed(JOB, foreign_pods=("tiny-4-0",)))


@reaches(Reason.CONTAINER_NOT_STARTING)
def _no_secret() -> JobStatus:
    return after(PODS[0], make_pod(JOB, 1).waiting("CreateContainerConfigError", 'secret "x" not found'))


@reaches(Reason.ALL_PODS_READY)
@reaches(Reason.WAITING_FOR_FIRST_STEP)
@reaches(Reason.RUNNING)
def _all_up() -> JobStatus:
    return after(*PODS)


@reaches(Reason.COMPILING)
def _compiling() -> JobStatus:
    return passed(observed(known(JOB, *PODS), PODS, [compiling(3, 10)]))


@reaches(Reason.STEPS_ADVANCING)
def _training() -> JobStatus:
    return passed(observed(known(JOB, *PODS), PODS, [training(3)]))


@reaches(Reason.COMPLETED)
def _succeeded() -> JobStatus:
    return after(*(pod.succeeded() for pod in PODS))


# ---- suspension --------------------------------------------------------------------------------------------------


@reaches(Reason.WAITING_FOR_CHECKPOINT)
def _near_a_checkpoint() -> JobStatus:
    before = passed(observed(known(JOB, *PODS), PODS, [training(13, -8)]))
    trained = passed(observed(reparsed(TWO, before), PODS, [training(17)]))
    return passed(observed(reparsed(TWO.spec(suspend=True), trained), PODS, [training(17)]))


@reaches(Reason.SUSPENDING)
def _told_to_go() -> JobStatus:
    return of(TWO.spec(suspend=True), known(JOB, *PODS).status, *PODS)


@reaches(Reason.SUSPENDED)
def _created_suspended() -> JobStatus:
    return alone(TWO.spec(suspend=True))


@reaches(Reason.SUSPENDED)
def _resumed() -> JobStatus:
    status = known(JOB, *PODS, start_time=NOW).status
    for pods in (PODS, PODS, [], []):
        status = of(TWO.spec(suspend=True), status, *pods)
    return of(TWO, status, seconds=60)
