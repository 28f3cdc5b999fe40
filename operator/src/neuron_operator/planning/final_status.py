"""The status to write, once it is known what came of a plan: phase and conditions, pods that were created, times."""

from dataclasses import replace
from datetime import datetime

from neuron_api.resource.status import JobStatus, PodStatus

from .failures import gang as gangs
from .observation import waiting
from .plan import Plan, PlanOutcome
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
        }
    )
