"""Which mechanism a job asks for."""

from collections.abc import Mapping
from typing import Any, Final

from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.scheduling import GangScheduler

from . import unqueued
from .coscheduling import Coscheduling
from .kueue import Kueue
from .mechanism import Asked, Mechanism
from .volcano import Volcano
from .workload import Workload

MECHANISMS: Final[Mapping[GangScheduler, Mechanism]] = {
    GangScheduler.KUEUE: Kueue(),
    GangScheduler.VOLCANO: Volcano(),
    GangScheduler.COSCHEDULING: Coscheduling(),
    GangScheduler.WORKLOAD: Workload(),
}


def of(job: NeuronTrainingJob) -> Mechanism | None:
    """None: none is asked for."""
    return MECHANISMS.get(job.spec.scheduling.gang)


def mark(job: NeuronTrainingJob, attempt: int, count: int) -> dict[str, Any]:
    """What the template of a pod needs of it."""
    mechanism = of(job)
    return mechanism.mark(Asked(job, attempt, count)) if mechanism else unqueued.mark(job)
