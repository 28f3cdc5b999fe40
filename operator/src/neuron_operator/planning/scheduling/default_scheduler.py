"""No queue and no gang: pods are placed one by one by the scheduler of the cluster."""

from typing import Any

from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.reasons import Reason

from . import topology
from .adapter import Admission

ADMISSION = Admission(True, Reason.NOT_QUEUED, "spec.scheduling.gang is None: the job waits in no queue.")


def mark(job: NeuronTrainingJob) -> dict[str, Any]:
    """What a pod's template needs."""
    name = job.spec.scheduling.scheduler_name
    return {
        "spec": {
            **({"schedulerName": name} if name else {}),
            **topology.priority(job),
            **topology.affinity(job),
        }
    }
