"""Which mechanism a job asks for."""

from collections.abc import Mapping
from typing import Any, Final

from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.scheduling import GangScheduler

from . import default_scheduler
from .adapter import GangRequest, GangSchedulerAdapter
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
    """None: none is asked for."""
    return ADAPTERS.get(job.spec.scheduling.gang)


def mark(job: NeuronTrainingJob, attempt: int, count: int) -> dict[str, Any]:
    """What the template of a pod needs of it."""
    adapter = adapter_for(job)
    return adapter.mark(GangRequest(job, attempt, count)) if adapter else default_scheduler.mark(job)
