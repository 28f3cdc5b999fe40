"""Which plans may be carried out on what the operator remembers, and which need a look at the API server first.

Memory may be behind by a moment, or by the length of an outage. What cannot be taken back is decided on what is there:
deletions, restarts, the end of a job, pods that come in place of others. So is that a name is taken, which keeps a job
from starting: memory may have the Service of an earlier job of the same name. To create the first pods of a job is safe
without: their names are theirs alone, and one that is there already is refused (409).
"""

from neuron_api.job import NeuronTrainingJob
from neuron_api.reasons import Reason

from .plan import Plan


def safe_from_memory(plan: Plan, job: NeuronTrainingJob) -> bool:
    """Whether nothing in the plan rests on what may have changed."""
    before, draft = job.status, plan.draft
    decides = (
        plan.facts.end is not None
        or draft.attempt != before.attempt
        or draft.restarts != before.restarts
        or draft.suspension != before.suspension
        or any(record.lost for record in draft.pods)
    )
    blocked = plan.facts.wait is not None and plan.facts.wait.reason is Reason.NAME_TAKEN
    first = not before.pods and not before.restarts and before.attempt == 0
    return not (decides or blocked or plan.deletes or (plan.creates and not first))
