"""Pods that a scheduler holds on to after they have ended: it keeps them by a finalizer until a replacement exists.

The replacement has the same name, so it can only be made once the old pod is gone; and pods of a job that was deleted
get none. So the operator releases its own pods when nothing runs in them any more. Where the job is over, or stands
still, the pods that stay for their logs are marked as not to be replaced: the group is then finished, and its quota
free.
"""

from collections.abc import Iterable

from neuron_api.resource.status import JobStatus
from neuron_operator.planning.observation.observation import Observed, Pod
from neuron_operator.planning.plan import Release
from neuron_operator.planning.scheduling import registry


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
