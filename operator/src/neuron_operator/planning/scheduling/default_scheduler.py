"""No queue and no gang: pods are placed one by one by the scheduler of the cluster.

`priority` and `affinity` are also for the gang schedulers that follow the pods' own fields.
"""

from typing import Any, Final

from neuron_api import contract
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.reasons import Reason

from .adapter import Admission

Json = dict[str, Any]

ADMISSION: Final = Admission(True, Reason.NOT_QUEUED, "spec.scheduling.gang is None: the job waits in no queue.")


def mark(job: NeuronTrainingJob) -> Json:
    """Return what a pod's template needs."""
    name = job.spec.scheduling.scheduler_name
    return {
        "spec": {
            **({"schedulerName": name} if name else {}),
            **priority(job),
            **affinity(job),
        }
    }


def priority(job: NeuronTrainingJob) -> Json:
    """`priorityClassName`, where it is given."""
    name = job.spec.scheduling.priority_class_name
    return {"priorityClassName": name} if name else {}


def affinity(job: NeuronTrainingJob) -> Json:
    """Pods of the job attract each other; the first one finds none, and a term that a pod meets itself lets it pass."""
    topology, terms = job.spec.scheduling.topology, dict[str, Any]()
    if topology.required:
        terms["requiredDuringSchedulingIgnoredDuringExecution"] = [_term(job, topology.required)]
    if topology.preferred:
        preferred = {"weight": 100, "podAffinityTerm": _term(job, topology.preferred)}
        terms["preferredDuringSchedulingIgnoredDuringExecution"] = [preferred]
    return {"affinity": {"podAffinity": terms}} if terms else {}


def _term(job: NeuronTrainingJob, key: str) -> Json:
    return {"topologyKey": key, "labelSelector": {"matchLabels": {contract.LABEL_JOB_UID: job.metadata.uid}}}
