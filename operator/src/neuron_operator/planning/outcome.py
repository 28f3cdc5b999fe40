"""The outcome of a plan: what is true once it has been carried out (`project`), and the status to write
(`finalize_status`).

Where nobody needs to be asked, the next plan starts from the projection. A failed pod takes three plans: its loss is
written down, it is deleted, its successor is created. Each follows from the one before within milliseconds, and what
was seen for the first is as good for the last: deletions name a UID, names are taken only once, and a status is written
over the version that was read.
"""

from dataclasses import replace
from datetime import datetime

from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.status import JobStatus, PodStatus

from .failures import gang as gangs
from .observation import waiting
from .observation.observation import Observed, Pod
from .plan import Plan, PlanOutcome
from .restarts import diagnosis
from .status import conditions, progress


def finalize_status(plan: Plan, outcome: PlanOutcome, now: datetime) -> JobStatus:
    """Return the draft of the plan with phase, conditions and the pods that were created."""
    if plan.is_final:
        return plan.draft
    wait = waiting.for_rejection(outcome.rejections) or plan.facts.wait
    existing = plan.facts.existing + len(outcome.created)
    facts = replace(plan.facts, wait=wait, existing=existing)
    created = {
        create.index: PodStatus(name=create.name, uid=outcome.created[create.index])
        for create in plan.creates
        if create.index in outcome.created
    }
    records = gangs.records_by_index(plan.draft) | created
    start = plan.draft.start_time or (now if existing else None)
    phase, end = conditions.phase(facts), plan.draft.completion_time or (now if facts.end else None)
    return progress.finalize(plan.draft, phase, end).model_copy(
        update={
            "observed_generation": facts.generation,
            "phase": phase,
            "conditions": conditions.conditions(facts, plan.draft.conditions, now),
            "pods": tuple(record for _, record in sorted(records.items())),
            "start_time": start,
            "completion_time": end,
            "ready_nodes": None if end else plan.draft.ready_nodes,
            "stragglers": () if end else plan.draft.stragglers,
        }
    )


def project(observed: Observed, plan: Plan, job: NeuronTrainingJob) -> Observed | None:
    """Return what will be observed once the plan is carried out; None: only the API server knows.

    A pod that is over goes with the request that deletes it. Where one has not, its name is still taken, and its
    successor has to wait for the next pass (`controller`).
    """
    if plan.creates or plan.standbys or plan.applies or plan.releases:
        return None
    if diagnosis.suspects(job, observed.pods) - diagnosis.suspects(observed.job, observed.pods):
        return None  # the decision is about a node that nobody has looked at
    if not plan.deletes:
        return replace(observed, job=job) if plan.requeue_after == 0.0 else None
    vanish = {pod.uid for pod in observed.pods if _vanishes(pod)}
    gone = {delete.uid for delete in plan.deletes}
    if not gone <= vanish:
        return None
    return replace(observed, job=job, pods=tuple(pod for pod in observed.pods if pod.uid not in gone))


def _vanishes(pod: Pod) -> bool:
    """There is nothing that would have to end first (a pod whose phase is Failed or Succeeded gets no grace)."""
    return pod.over and not pod.occupied and not pod.terminating and not pod.finalizers
