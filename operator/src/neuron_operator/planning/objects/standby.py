"""Standby pods: they hold nodes for a growth of an elastic job, and do nothing.

Each asks for what a pod of the job asks for, so it has a node exactly when there is room for one more; while it has
none it asks an autoscaler for it. It has the trainer's image, which its node then has. It is neither part of the gang
nor reached by its name, and it is gone before the pod that takes its place is created.
"""

from typing import Any, Final

from neuron_api import contract
from neuron_operator.planning.context import PlanContext
from neuron_operator.planning.observation.observation import Pod
from neuron_operator.planning.plan import Create
from neuron_operator.planning.restarts import exclusion, resizing

from . import desired, naming

_KEPT: Final = ("name", "image", "imagePullPolicy", "resources", "securityContext")
"""Parts of the trainer's container: what it needs to be placed and started."""
_DROPPED: Final = ("hostname", "subdomain", "initContainers")
GRACE_SECONDS: Final = 1


def pods_to_keep(context: PlanContext) -> set[str]:
    """Return the UIDs of the standby pods that go on holding a node, or waiting for one."""
    places = _places(context)
    return {pod.uid for pod in context.observed.pods if pod.index in places and _is_current(context, pod)}


def creates(context: PlanContext) -> tuple[Create, ...]:
    """Return the standby pods that are missing."""
    existing = {pod.index for pod in context.observed.pods if pod.is_standby}
    return tuple(Create(index, _pod(context, index)) for index in _places(context) if index not in existing)


def _places(context: PlanContext) -> range:
    return range(context.gang.size, context.gang.size + resizing.standby_count(context))


def _is_current(context: PlanContext, pod: Pod) -> bool:
    hosts = frozenset(exclusion.hostnames(context.status))
    return pod.is_standby and pod.attempt == context.gang.attempt and not pod.over and pod.avoids == hosts


def _pod(context: PlanContext, index: int) -> dict[str, Any]:
    job, attempt = context.job, context.gang.attempt
    avoid = exclusion.hostnames(context.status)
    body = desired.pod(job, context.accepted, attempt, index, avoid)
    body["metadata"]["name"] = f"{naming.pod(job, attempt, index, context.gang.size)}-standby"
    body["metadata"]["labels"][contract.LABEL_STANDBY] = "true"
    spec = {key: value for key, value in body["spec"].items() if key not in _DROPPED}
    trainer = next(container for container in spec["containers"] if container["name"] == contract.CONTAINER)
    remaining = {key: trainer[key] for key in _KEPT if key in trainer}
    spec["containers"] = [{**remaining, "command": ["sleep", "infinity"]}]
    spec["terminationGracePeriodSeconds"] = GRACE_SECONDS
    return {**body, "spec": spec}
