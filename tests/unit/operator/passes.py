"""A job of two pods, and a pass over it as the controller does it."""

from datetime import datetime
from typing import Any

from builders import (
    NOW,
    OPTIONS,
    JobBuilder,
    PodBuilder,
    at,
    make_job,
    make_report,
    observed,
    running_gang,
    with_status,
)
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.progress import CompileReport, Progress, TrainerPhase
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import ConditionStatus, JobStatus
from neuron_operator.planning.observation.observation import Observed
from neuron_operator.planning.outcome import finalize_status
from neuron_operator.planning.plan import Plan, PlanOutcome
from neuron_operator.planning.planner import plan

TWO = make_job().nodes(2)
JOB = TWO.build()
PODS = running_gang(JOB)
FOREIGN = {"metadata": {"name": "tiny"}, "spec": {}}


def one_pass(seen: Observed, seconds: float = 0) -> tuple[Plan, JobStatus]:
    """As the controller does it where nothing is refused."""
    planned = plan(seen, OPTIONS, at(seconds))
    created = {create.index: f"new-{create.name}" for create in planned.creates}
    return planned, finalize_status(planned, PlanOutcome(created), at(seconds))


def started(job: NeuronTrainingJob) -> NeuronTrainingJob:
    """The job after the pass that only writes down that it starts."""
    return with_status(job, start_time=NOW)


def known(job: NeuronTrainingJob, *pods: PodBuilder, **values: object) -> NeuronTrainingJob:
    """The job with the status that a pass over these pods has written."""
    return with_status(job.model_copy(update={"status": one_pass(observed(job, pods))[1]}), **values)


def reparsed(job: JobBuilder, status: JobStatus) -> NeuronTrainingJob:
    return job.status(status).build()


def true(status: JobStatus) -> dict[ConditionType, Reason]:
    """But for a job without a queue, that none keeps it."""
    found = {c.type: c.reason for c in status.conditions if c.status is ConditionStatus.TRUE}
    return {kind: reason for kind, reason in found.items() if reason is not Reason.NOT_QUEUED}


def names(planned: Plan) -> list[str]:
    return [delete.name for delete in planned.deletes]


def compiling(done: int, expected: int, when: datetime = NOW, pod: PodBuilder = PODS[0], **fields: Any) -> Progress:
    """What a pod reports in its compile phase, which began at NOW."""
    values = {"part": "training step", "compiled": done, "since": NOW, "time": when, **fields}
    report = CompileReport(done=done, expected=expected, **values)
    return make_report(pod.build(), JOB).phase(TrainerPhase.LOADING).build().model_copy(update={"compilation": report})
