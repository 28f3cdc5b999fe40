"""What is deleted of a job that is over, and which ended pods are released.

When spec.ttlSecondsAfterFinished is over the status stays as it is: it says how the job ended. Only what has ended is
deleted: Service and ConfigMap serve pods that are still saving. The job itself goes only where the spec asks for it;
what it owned is then left to garbage collection.

A scheduler may hold on to pods after they have ended: it keeps them by a finalizer until a replacement exists. The
replacement has the same name, so it can only be made once the old pod is gone; and pods of a job that was deleted get
none. So the operator releases its own pods when nothing runs in them any more. Where the job is over, or stands still,
the pods that stay for their logs are marked as not to be replaced: the group is then finished, and its quota free.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from neuron_api import contract
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.spec import TtlDeletionPolicy
from neuron_api.resource.status import JobStatus
from neuron_operator.planning.context import active_pods
from neuron_operator.planning.observation.observation import Child, Observed, Pod
from neuron_operator.planning.plan import Delete, Release
from neuron_operator.planning.scheduling import registry

from .children import group_deletes


def releases(observed: Observed, status: JobStatus) -> tuple[Release, ...]:
    """Return the releases of a job's pods, and of pods whose job is gone."""
    stopped = status.suspension is not None and status.suspension.stop_time is not None
    own = release_pods(observed.pods, observed.lost_nodes, finished=status.finished or stopped)
    return (*own, *release_pods(observed.abandoned, observed.lost_nodes))


def release_pods(
    pods: Iterable[Pod], lost_nodes: frozenset[str] = frozenset(), *, finished: bool = False
) -> tuple[Release, ...]:
    """Return the releases of these pods; `finished`: none of them is replaced any more."""
    return tuple(
        Release(
            pod.name,
            pod.uid,
            finalizers=tuple(finalizer for finalizer in pod.finalizers if finalizer != holder.finalizer),
            resource_version=pod.resource_version,
            annotations=holder.finished_annotations if finished else {},
        )
        for pod in pods
        if (pod.terminating or finished)
        and _has_ended(pod, lost_nodes)
        and (holder := registry.holder(pod)) is not None
    )


def _has_ended(pod: Pod, lost_nodes: frozenset[str]) -> bool:
    """Return whether nothing runs in it: it is over, was never placed and is going, or its node is gone."""
    return (pod.over and not pod.occupied) or (pod.terminating and (not pod.node or pod.node in lost_nodes))


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
    return (*pods, *group_deletes(observed)), wait_seconds if seconds == 0.0 else seconds


def deletes(observed: Observed) -> tuple[Delete, ...]:
    """All that is there of a job whose time is over, and in which nothing runs any more."""
    job = observed.job
    if job.spec.ttl_deletion_policy is TtlDeletionPolicy.JOB:
        return (Delete(job.metadata.name, job.metadata.uid, kind=contract.KIND),)
    pods = (Delete(pod.name, pod.uid) for pod in observed.pods if not pod.terminating)
    own = {"Service": observed.service, "ConfigMap": observed.config_map}
    children = (_delete(kind, child) for kind, child in own.items() if _belongs(child, job))
    return (*pods, *children, *group_deletes(observed))


def _belongs(child: Child | None, job: NeuronTrainingJob) -> bool:
    return child is not None and child.owner_uid == job.metadata.uid and "deletionTimestamp" not in _metadata(child)


def _delete(kind: str, child: Child | None) -> Delete:
    metadata = _metadata(child)
    return Delete(str(metadata["name"]), str(metadata["uid"]), kind=kind)


def _metadata(child: Child | None) -> dict[str, object]:
    metadata = child.body["metadata"] if child else None
    return dict(metadata) if isinstance(metadata, dict) else {}
