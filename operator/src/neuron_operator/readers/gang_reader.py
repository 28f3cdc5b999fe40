"""What is there of the scheduler that a job asks for: its API, the objects of the job's gangs, the queue.

Looked at pass by pass, without a watch: what it decides shows on the pods, and their events wake the operator.
"""

import asyncio
from typing import Any

from neuron_api import contract
from neuron_api.resource.job import NeuronTrainingJob
from neuron_operator.kube.errors import NotFoundError, RefusedError
from neuron_operator.kube.gateway import Cluster, Kind
from neuron_operator.planning.observation import pods
from neuron_operator.planning.observation.observation import Child, SchedulerState
from neuron_operator.planning.options import Options
from neuron_operator.planning.scheduling import registry
from neuron_operator.planning.scheduling.adapter import GangSchedulerAdapter, group_name

Json = dict[str, Any]


async def read(cluster: Cluster, job: NeuronTrainingJob, options: Options) -> SchedulerState | None:
    """None where no scheduler is asked for, or the operator has no rights for it. Raises `ApiError`."""
    adapter = registry.adapter_for(job)
    if adapter is None or job.spec.scheduling.gang not in options.gang_schedulers:
        return None
    groups, queue = await asyncio.gather(_groups(cluster, job, adapter), _queue(cluster, job, adapter))
    return SchedulerState(served=groups is not None, groups=groups or (), queue=queue)


async def _groups(cluster: Cluster, job: NeuronTrainingJob, adapter: GangSchedulerAdapter) -> tuple[Child, ...] | None:
    """Return the groups of every attempt, where they are ours; None: no version of the API is served."""
    namespace = job.metadata.namespace
    for version in adapter.kind.api_versions:
        kind = Kind(version, adapter.kind.plural)
        try:
            if adapter.kind.own:
                bodies = await cluster.list(kind, namespace, f"{contract.LABEL_JOB}={job.metadata.name}")
            else:
                bodies = [await cluster.get(kind, namespace, group_name(job, job.status.attempt))]
        except NotFoundError as problem:
            if not adapter.kind.own and _is_served(problem, group_name(job, job.status.attempt)):
                return ()
            continue
        return tuple(Child(pods.owner_uid(body), body) for body in bodies)
    return None


async def _queue(cluster: Cluster, job: NeuronTrainingJob, adapter: GangSchedulerAdapter) -> bool | None:
    """Return whether the queue that the job names is there; None: it names none, or nobody may look."""
    name, kind = job.spec.scheduling.queue_name, adapter.queue
    if kind is None or name is None:
        return None
    for version in kind.api_versions:
        try:
            await cluster.get(Kind(version, kind.plural, kind.namespaced), job.metadata.namespace, name)
        except NotFoundError as problem:
            if _is_served(problem, name):
                return False
        except RefusedError:
            return None
        else:
            return True
    return None


def _is_served(problem: NotFoundError, name: str) -> bool:
    """The API server names the object that is missing; of a path that nobody serves it knows no name."""
    return f'"{name}"' in problem.message
