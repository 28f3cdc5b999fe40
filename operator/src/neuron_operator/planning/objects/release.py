"""Pods that Kueue holds on to after they have ended: it keeps them by a finalizer until a replacement is there.

The replacement has the same name, so it can only be made once the old pod is gone; and pods of a job that was deleted
get none. So the operator lets go of its own pods when nothing runs in them any more. Where the job is over, or stands
still, the pods that stay for their logs are marked as not to be replaced: the group is then finished, and its quota
free.
"""

from collections.abc import Iterable

from neuron_api.resource.status import JobStatus
from neuron_operator.planning.observation.observation import Observed, Pod
from neuron_operator.planning.plan import Release
from neuron_operator.planning.scheduling.kueue import FINALIZER, RETRIABLE


def releases(observed: Observed, status: JobStatus) -> tuple[Release, ...]:
    """Of a job's pods, and of pods whose job is gone."""
    stopped = status.suspension is not None and status.suspension.stop_time is not None
    own = of_pods(observed.pods, observed.lost_nodes, finished=status.finished or stopped)
    return (*own, *of_pods(observed.abandoned, observed.lost_nodes))


def of_pods(
    pods: Iterable[Pod], lost_nodes: frozenset[str] = frozenset(), *, finished: bool = False
) -> tuple[Release, ...]:
    """`finished`: no pod of these is replaced any more."""
    return tuple(
        Release(pod.name, pod.uid, _left(pod), pod.resource_version, _marks(finished=finished))
        for pod in pods
        if FINALIZER in pod.finalizers and _has_ended(pod, lost_nodes) and (pod.terminating or finished)
    )


def _has_ended(pod: Pod, lost_nodes: frozenset[str]) -> bool:
    """Nothing runs in it: it is over, was never placed and is going, or its node is gone."""
    return (pod.over and not pod.occupied) or (pod.terminating and (not pod.node or pod.node in lost_nodes))


def _left(pod: Pod) -> tuple[str, ...]:
    return tuple(one for one in pod.finalizers if one != FINALIZER)


def _marks(*, finished: bool) -> dict[str, str]:
    return {RETRIABLE: "false"} if finished else {}
