"""Which plans may be carried out on what the operator remembers, and which need a look at the API server first.

Memory may be behind by a moment, or by the length of an outage. What cannot be taken back is decided on what is there:
deletions, restarts, the end of a job, pods that come in place of others. So is that a name is taken, which keeps a job
from starting: memory may have the Service of an earlier job of the same name.

Two things are so however old the memory is. The first pods of a job may be created: their names are theirs alone, and
one that is there already is refused (409). And a pod that is over never runs again: it may be written down as lost,
deleted by its UID, and replaced under its name, which is free only once it has gone. A live listing of the pods would
take the API server up to 0.1 s, the time in which its cache asks etcd how far it is.
"""

from collections.abc import Collection

from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import JobStatus

from .observation.observation import Observed
from .plan import Plan


def requires_live_read(plan: Plan, observed: Observed) -> bool:
    """Return whether the plan rests on something that may have changed since it was read."""
    before, draft = observed.job.status, plan.draft
    ended = {pod.uid for pod in observed.pods if pod.over}
    recorded, lost = _lost(before), _lost(draft)
    decides = (
        plan.facts.end is not None
        or draft.attempt != before.attempt
        or draft.suspension != before.suspension
        or draft.checkpoint_gate != before.checkpoint_gate
        or (draft.restarts != before.restarts and lost <= recorded)
        or not lost <= recorded | ended
    )
    blocked = plan.facts.wait is not None and plan.facts.wait.reason is Reason.NAME_TAKEN
    deletes = any(delete.force or delete.uid not in ended for delete in plan.deletes)
    return decides or blocked or deletes or not _may_create(plan, observed.job, recorded)


def _lost(status: JobStatus) -> set[str]:
    return {record.uid for record in status.pods if record.lost}


def _may_create(plan: Plan, job: NeuronTrainingJob, recorded: Collection[str]) -> bool:
    """The first pods of a job, or successors of pods whose loss is written down."""
    status = job.status
    if not status.pods and not status.restarts and status.attempt == 0:
        return True
    uids = {record.name: record.uid for record in status.pods}
    return all(uids.get(create.name) in recorded for create in plan.creates)
