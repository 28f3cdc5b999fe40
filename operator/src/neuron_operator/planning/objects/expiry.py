"""What is deleted when spec.ttlSecondsAfterFinished is over. The status stays as it is: it tells how the job ended.

Only what has ended is deleted: Service and ConfigMap serve pods that are still saving. The job itself goes only where
the spec asks for it; what it owned is then left to garbage collection.
"""

from datetime import datetime, timedelta

from neuron_api import contract
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.spec import TtlDeletionPolicy
from neuron_operator.planning.context import active_pods
from neuron_operator.planning.observation.observation import Child, Observed
from neuron_operator.planning.plan import Delete

from . import groups


def seconds_left(job: NeuronTrainingJob, now: datetime) -> float | None:
    """Return the seconds until the job expires, 0 from then on; None: it never does."""
    ttl, ended = job.spec.ttl_seconds_after_finished, job.status.completion_time
    if ttl is None or ended is None:
        return None
    return max(0.0, (ended + timedelta(seconds=ttl) - now).total_seconds())


def cleanup(observed: Observed, wait_seconds: float, now: datetime) -> tuple[tuple[Delete, ...], float | None]:
    """Return what is deleted of a job that is over, and the seconds until the next look.

    Pods that still hold something are ended at once; the rest is kept until its time is over.
    """
    active = active_pods(observed)
    seconds = seconds_left(observed.job, now)
    if seconds == 0.0 and not active:
        return deletes(observed), None
    pods = (Delete(pod.name, pod.uid) for pod in active if not pod.terminating)
    return (*pods, *groups.deletes(observed)), wait_seconds if seconds == 0.0 else seconds


def deletes(observed: Observed) -> tuple[Delete, ...]:
    """All that is there of a job whose time is over, and in which nothing runs any more."""
    job = observed.job
    if job.spec.ttl_deletion_policy is TtlDeletionPolicy.JOB:
        return (Delete(job.metadata.name, job.metadata.uid, kind=contract.KIND),)
    pods = (Delete(pod.name, pod.uid) for pod in observed.pods if not pod.terminating)
    own = {"Service": observed.service, "ConfigMap": observed.config_map}
    children = (_delete(kind, child) for kind, child in own.items() if _belongs(child, job))
    return (*pods, *children, *groups.deletes(observed))


def _belongs(child: Child | None, job: NeuronTrainingJob) -> bool:
    return child is not None and child.owner_uid == job.metadata.uid and "deletionTimestamp" not in _metadata(child)


def _delete(kind: str, child: Child | None) -> Delete:
    metadata = _metadata(child)
    return Delete(str(metadata["name"]), str(metadata["uid"]), kind=kind)


def _metadata(child: Child | None) -> dict[str, object]:
    metadata = child.body["metadata"] if child else None
    return dict(metadata) if isinstance(metadata, dict) else {}
