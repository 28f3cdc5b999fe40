"""Every reason of the closed list is reached by a pass over something that can be seen, and says what to do.

A new reason needs one function here, marked with `@reaches(Reason.X)`, that gives the status which tells it.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from builders import NOW, OPTIONS, JobBuilder, PodBuilder, at, make_job, make_pod, make_report, observed, with_status
from neuron_api.contract import ExitCode
from neuron_api.job import NeuronTrainingJob
from neuron_api.progress import Progress
from neuron_api.reasons import Reason
from neuron_api.reference import reasons
from neuron_api.status import CountedFailure, JobStatus, Restart, Rung
from neuron_operator.planning.observation import ConfigText, Node, NodeCondition, Observed, Sight, Taint
from neuron_operator.planning.outcome import Outcome, Rejection
from neuron_operator.planning.planner import plan, settle

from .passes import JOB, PODS, TWO, known, one_pass, reparsed, started

Case = Callable[[], JobStatus]

CASES: Final[dict[Reason, list[Case]]] = {}
ADVICE: Final = ("add", "ask", "create", "delete", "give", "install", "look", "lower", "mend", "raise", "read",
                 "restore", "see", "set", "start", "wait")  # fmt: skip
"""Verbs that tell a reader to do something."""


THERE: Final = Sight(served=True, queue=True)


def reaches(reason: Reason) -> Callable[[Case], Case]:
    """Mark a function whose status tells the reason, as a condition's or as a cause in the ledger."""

    def register(case: Case) -> Case:
        CASES.setdefault(reason, []).append(case)
        return case

    return register


def told(status: JobStatus) -> set[Reason]:
    """Every reason that a reader of the status finds."""
    return {c.reason for c in status.conditions} | {
        *(entry.cause for entry in status.restarts), *(one.reason for one in status.excluded_nodes)
    }  # fmt: skip


def saved(status: JobStatus) -> JobStatus:
    """After a trip to the API server."""
    return JobStatus.model_validate_json(status.model_dump_json(by_alias=True, exclude_none=True))


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_reached(reason: Reason) -> None:
    assert CASES.get(reason), f"mark a case with @reaches(Reason.{reason.name})"
    for case in CASES[reason]:
        assert reason in told(saved(case())), case.__name__


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_says_what_it_means_and_what_to_do(reason: Reason) -> None:
    first, _, rest = reasons.meaning(reason).partition(". ")
    assert first, "a meaning"
    advice = re.search(rf"\b(nothing to do|{'|'.join(ADVICE)})\b", rest, re.IGNORECASE)
    assert advice, f"{reason}: a second sentence that says what to do, be it `Nothing to do.`; it says {rest!r}"
    assert reason.value.isidentifier(), "what metav1.Condition takes"


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


def _queued(gang: str, *pods: PodBuilder, seconds: float = 0, sight: Sight = THERE) -> JobStatus:
    job = TWO.spec(scheduling={"gang": gang, "queueName": "team"}, startupPolicy={"admissionSeconds": 600})
    return passed(observed(started(job.build()), pods, scheduler=sight), seconds)


@reaches(Reason.ADMITTED)
def _all_placed() -> JobStatus:
    return _queued("coscheduling", *PODS)


@reaches(Reason.WAITING_FOR_QUOTA)
def _at_kueues_gate() -> JobStatus:
    return _queued("kueue", _gated().labels(**{"kueue.x-k8s.io/managed": "true"}))


@reaches(Reason.WAITING_FOR_GANG)
def _no_room_for_all() -> JobStatus:
    return _queued("coscheduling", make_pod(JOB).unschedulable("0/3 nodes are available"))


@reaches(Reason.SCHEDULER_NOT_ENABLED)
def _no_rights() -> JobStatus:
    job = started(TWO.spec(scheduling={"gang": "volcano"}).build())
    return settle(plan(observed(job), replace(OPTIONS, gang_schedulers=frozenset()), NOW), Outcome(), NOW)


@reaches(Reason.SCHEDULER_NOT_INSTALLED)
def _no_scheduler() -> JobStatus:
    return _queued("volcano", sight=Sight(served=False))


@reaches(Reason.SCHEDULER_SILENT)
def _wrong_name() -> JobStatus:
    return _queued("volcano", make_pod(JOB)._with("metadata", creationTimestamp=_CREATED), seconds=61)


@reaches(Reason.QUEUE_NOT_FOUND)
def _no_queue() -> JobStatus:
    return _queued("kueue", sight=Sight(True, queue=False))


@reaches(Reason.QUEUE_NOT_IN_CHARGE)
def _namespace_without_kueue() -> JobStatus:
    return _queued("kueue", _gated())


@reaches(Reason.ADMISSION_DEADLINE_EXCEEDED)
def _queued_for_long() -> JobStatus:
    return _queued("kueue", _gated()._with("metadata", creationTimestamp=_CREATED), seconds=600)


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
    return settle(planned, Outcome(rejections=(Rejection("Pod tiny-0-0", "exceeded quota"),)), NOW)


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


# ---- causes of restarts ------------------------------------------------------------------------------------------


def _failed_process(exit_code: int) -> JobStatus:
    report = make_report(PODS[0].build(), JOB).round(1).failure(0, 0, exit_code, message="ValueError: bad")
    return passed(observed(known(JOB, *PODS), PODS, [report]))


@reaches(Reason.PROCESS_FAILED)
def _exception() -> JobStatus:
    return _failed_process(1)


@reaches(Reason.PROCESS_KILLED)
def _killed_rank() -> JobStatus:
    return _failed_process(-9)


@reaches(Reason.PROCESS_KILLED)
def _killed_launcher() -> JobStatus:
    return after(PODS[0], PODS[1].failed(137))


@reaches(Reason.POD_DELETED)
def _deleted() -> JobStatus:
    return after(PODS[0])


@reaches(Reason.POD_EVICTED)
def _evicted() -> JobStatus:
    return after(PODS[0], PODS[1].disrupted().terminating())


@reaches(Reason.NODE_LOST)
def _node_gone() -> JobStatus:
    return passed(observed(known(JOB, *PODS), PODS, lost_nodes=frozenset({"node-1"})))


@reaches(Reason.POD_PREEMPTED)
def _saved_and_left() -> JobStatus:
    return after(PODS[0], PODS[1].failed(ExitCode.PREEMPTED))


@reaches(Reason.OUT_OF_MEMORY)
def _out_of_memory() -> JobStatus:
    return after(PODS[0], PODS[1].oom_killed())


@reaches(Reason.HANG)
def _hangs() -> JobStatus:
    report = make_report(PODS[0].build(), JOB).step(3)._with(idle_seconds=1e6)
    return passed(observed(known(JOB, *PODS), PODS, [report]))


@reaches(Reason.POD_FAILED)
def _gave_up() -> JobStatus:
    return after(PODS[0], PODS[1].failed(ExitCode.ERROR, "ValueError: bad"))


@reaches(Reason.INCOMPLETE_COMPLETION)
def _lost_at_the_end() -> JobStatus:
    return after(PODS[0].succeeded())


# ---- the end -----------------------------------------------------------------------------------------------------


@reaches(Reason.BUDGET_EXHAUSTED)
def _used_up() -> JobStatus:
    job = known(TWO.restart_policy(maxGangRestarts=1).build(), *PODS)
    charged = job.status.model_copy(
        update={"gang_failures": 1, "counted_failures": (CountedFailure(cause=Reason.POD_FAILED, time=NOW),)}
    )
    return of(TWO.restart_policy(maxGangRestarts=1), charged, PODS[0], PODS[1].failed(1))


@reaches(Reason.TRAINER_REFUSED_CONFIG)
def _exit_code_2() -> JobStatus:
    return after(PODS[0], PODS[1].failed(ExitCode.CONFIG, "data.train_dir: /data is empty."))


@reaches(Reason.DEADLINE_EXCEEDED)
def _over_time() -> JobStatus:
    return of(TWO.spec(activeDeadlineSeconds=60), known(JOB, *PODS, start_time=NOW).status, *PODS, seconds=61)


def _late(stage: str, *pods: PodBuilder) -> JobStatus:
    return of(TWO.spec(startupPolicy={stage: 60}), known(JOB, *pods).status, *pods, seconds=61)


@reaches(Reason.SCHEDULING_DEADLINE_EXCEEDED)
def _no_node_for_long() -> JobStatus:
    return _late("schedulingSeconds", PODS[0], make_pod(JOB, 1)._with("metadata", creationTimestamp=_CREATED))


@reaches(Reason.IMAGE_DEADLINE_EXCEEDED)
def _no_container_for_long() -> JobStatus:
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": _CREATED}
    return _late("imageSeconds", PODS[0], make_pod(JOB, 1).on("node-1")._with("status", conditions=[placed]))


@reaches(Reason.FIRST_STEP_DEADLINE_EXCEEDED)
def _no_step_for_long() -> JobStatus:
    return _late("firstStepSeconds", *PODS)


_CREATED: Final = "2026-11-24T12:00:00Z"
"""NOW, as the API server writes it."""


@reaches(Reason.NO_CHECKPOINT_FOUND)
def _nothing_to_take_up() -> JobStatus:
    return after(PODS[0], PODS[1].failed(ExitCode.NO_CHECKPOINT, "40 steps were finished and there is no checkpoint."))


@reaches(Reason.CANNOT_RESUME)
def _may_not_resume() -> JobStatus:
    job = TWO.cannot_resume()
    trained = passed(observed(known(job.build(), *PODS), PODS, [training(40)]))
    return of(job, trained, PODS[0], PODS[1].failed(1))


# ---- what the failure table and nodes say ---------------------------------------------------------------------------


def _failed(message: str, *nodes: Node, restarts: tuple[Restart, ...] = ()) -> JobStatus:
    """Pod 1 has ended with this."""
    job = with_status(known(JOB, *PODS), restarts=restarts)
    pods = (PODS[0], PODS[1].failed(1, message))
    return one_pass(observed(job, pods, nodes={node.name: node for node in nodes}))[1]


def _line(message: str, number: int) -> Restart:
    return Restart(
        rung=Rung.PROCESS, cause=Reason.PROCESS_FAILED, time=at(-number), node="node-1", pod_uid=f"{number}",
        step=number, message=message,
    )  # fmt: skip


@reaches(Reason.HARDWARE_FAULT)
def _broken_memory() -> JobStatus:
    return _failed("nrt_execute status_code=1202")


@reaches(Reason.COLLECTIVE_HANG)
def _waits_in_a_collective() -> JobStatus:
    return _failed("nrt_execute status_code=1200")


@reaches(Reason.NEURON_SOFTWARE_MISMATCH)
def _another_sdk() -> JobStatus:
    return _failed("NRT_UNSUPPORTED_NEFF_VERSION")


@reaches(Reason.NODE_MAINTENANCE)
def _spot_node_goes() -> JobStatus:
    return _failed("ValueError: x", Node("node-1", "node-1", taints=(Taint("karpenter.sh/disrupted"),)))


@reaches(Reason.REPEATED_FAILURES)
def _one_node_again_and_again() -> JobStatus:
    return _failed("ValueError: x", restarts=(_line("ValueError: x", 10), _line("ValueError: x", 20)))


@reaches(Reason.SAME_STEP_CRASH)
def _one_step_again_and_again() -> JobStatus:
    return _failed("ValueError: x", restarts=(_line("ValueError: x", 0), _line("ValueError: x", 0)))


@reaches(Reason.NODE_NOT_READY)
def _silent_node() -> JobStatus:
    node = Node("node-1", "node-1", conditions=(NodeCondition("Ready", "Unknown", since=NOW),))
    down = make_pod(JOB, 1).on("node-1").running()
    return one_pass(observed(known(JOB, *PODS), (PODS[0], down), nodes={"node-1": node}))[1]
