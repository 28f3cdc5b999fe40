"""Volcano: a PodGroup, and pods that name it and its scheduler.

Read in volcano 1.16 (pkg/scheduler, apis/scheduling/v1beta1). A PodGroup is Pending until its queue has room for
`minResources`, Inqueue until `minMember` pods fit at once, then Running.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from neuron_api.resource.reasons import Reason
from neuron_operator.planning.observation.observation import GroupKind, QueueKind

from . import default_scheduler
from .adapter import (
    Admission,
    GangRequest,
    GangState,
    Json,
    PodConventions,
    conditions,
    placed,
    unresponsive,
    waiting_for_gang,
)

_VERSIONS: Final = ("scheduling.volcano.sh/v1beta1",)
_KIND: Final = GroupKind(_VERSIONS, "podgroups", "PodGroup")
_QUEUE: Final = QueueKind(_VERSIONS, "queues", "Queue", namespaced=False)
_STARTED: Final = ("Running", "Unknown", "Completed")
_PODS: Final = PodConventions(reserved_keys=("scheduling.volcano.sh/", "volcano.sh/", "scheduling.k8s.io/group-name"))


@dataclass(frozen=True, slots=True)
class Volcano:
    """See the module."""

    title: str = "Volcano"
    kind: GroupKind = _KIND
    queue: QueueKind | None = _QUEUE
    pods: PodConventions = _PODS

    def mark(self, request: GangRequest) -> Json:
        """See `GangSchedulerAdapter`."""
        return {
            "metadata": {"annotations": {"scheduling.k8s.io/group-name": request.name}},
            "spec": {
                "schedulerName": request.job.spec.scheduling.scheduler_name or "volcano",
                **default_scheduler.priority(request.job),
                **default_scheduler.affinity(request.job),
            },
        }

    def group(self, request: GangRequest, pod: Mapping[str, Any]) -> Json | None:
        """See `GangSchedulerAdapter`."""
        minimum = _minimum_resources(pod, request.count)
        return {
            "minMember": request.count,
            "queue": request.job.spec.scheduling.queue_name or "default",
            **default_scheduler.priority(request.job),
            **({"minResources": minimum} if minimum else {}),
        }

    def admission(self, state: GangState) -> Admission:
        """See `GangSchedulerAdapter`."""
        if decision := placed(state.pods) or unresponsive(self.title, state):
            return decision
        phase = ((state.group or {}).get("status") or {}).get("phase", "")
        if phase in _STARTED:
            return Admission(True, Reason.ADMITTED, f"Volcano's PodGroup is {phase}.")
        message = str(conditions(state.group).get("Unschedulable", {}).get("message") or "")
        if phase == "Inqueue":
            return waiting_for_gang(self.title, message, state.pods)
        queue = state.job.spec.scheduling.queue_name or "default"
        quote = f" Volcano says: {message.rstrip('.')}." if message else ""
        return Admission(False, Reason.WAITING_FOR_QUOTA, f"{len(state.pods)} pods wait in Queue {queue}.{quote}")


def _minimum_resources(pod: Mapping[str, Any], count: int) -> dict[str, str]:
    """Devices of the gang: whole numbers only, the rest Volcano counts pod by pod."""
    devices: dict[str, int] = {}
    for container in pod["spec"]["containers"]:
        for name, amount in ((container.get("resources") or {}).get("requests") or {}).items():
            if "/" in name and str(amount).isdigit():
                devices[name] = devices.get(name, 0) + int(amount)
    return {name: str(amount * count) for name, amount in devices.items()}
