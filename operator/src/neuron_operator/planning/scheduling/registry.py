"""Which schedulers there are, and what is asked of all of them: the only place that names them."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.scheduling import GangScheduler
from neuron_operator.planning.observation.observation import Pod

from . import default_scheduler
from .adapter import GangRequest, GangSchedulerAdapter, PodConventions
from .coscheduling import Coscheduling
from .kueue import Kueue
from .volcano import Volcano
from .workload import Workload

ADAPTERS: Final[Mapping[GangScheduler, GangSchedulerAdapter]] = {
    GangScheduler.KUEUE: Kueue(),
    GangScheduler.VOLCANO: Volcano(),
    GangScheduler.COSCHEDULING: Coscheduling(),
    GangScheduler.WORKLOAD: Workload(),
}


def adapter_for(job: NeuronTrainingJob) -> GangSchedulerAdapter | None:
    """Return the adapter of the scheduler that the job asks for; None: it asks for none."""
    return ADAPTERS.get(job.spec.scheduling.gang)


def mark(job: NeuronTrainingJob, attempt: int, count: int) -> dict[str, Any]:
    """Return what the template of a pod needs for its scheduler."""
    adapter = adapter_for(job)
    return adapter.mark(GangRequest(job, attempt, count)) if adapter else default_scheduler.mark(job)


def follows_pod_fields(gang: GangScheduler) -> bool:
    """Return whether priority and nearness of pods are fields of the pods, as they are without a gang scheduler."""
    adapter = ADAPTERS.get(gang)
    return adapter is None or adapter.pods.follows_pod_fields


def is_reserved(key: str) -> bool:
    """Return whether a label or annotation is some scheduler's own."""
    return any(adapter.pods.is_reserved(key) for adapter in ADAPTERS.values())


def holder(pod: Pod) -> PodConventions | None:
    """Return the conventions of the scheduler whose finalizer holds the pod; None: none does."""
    conventions = (adapter.pods for adapter in ADAPTERS.values())
    return next((pods for pods in conventions if pods.finalizer and pods.finalizer in pod.finalizers), None)


def may_hold_pods(schedulers: Collection[GangScheduler]) -> bool:
    """Return whether one of these schedulers holds pods by a finalizer, also those of a job that is gone."""
    return any(adapter.pods.finalizer for gang, adapter in ADAPTERS.items() if gang in schedulers)
