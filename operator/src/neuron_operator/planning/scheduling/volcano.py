"""Volcano: a PodGroup, and pods that name it and its scheduler.

Read in volcano 1.16 (pkg/scheduler, apis/scheduling/v1beta1). A PodGroup is Pending until its queue has room for
`minResources`, Inqueue until `minMember` pods fit at once, then Running.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from neuron_api.resource.reasons import Reason
from neuron_operator.planning.observation.observation import GroupKind, QueueKind

from . import topology
from .adapter import Admission, GangRequest, GangState, Json, conditions, placed, silent, waiting_for_gang

_VERSIONS: Final = ("scheduling.volcano.sh/v1beta1",)
_KIND: Final = GroupKind(_VERSIONS, "podgroups", "PodGroup")
_QUEUE: Final = QueueKind(_VERSIONS, "queues", "Queue", namespaced=False)
_STARTED: Final = ("Running", "Unknown", "Completed")


@dataclass(frozen=True, slots=True)
class Volcano:
    """See the module."""

    title: str = "Volcano"
    kind: GroupKind = _KIND
    queue: QueueKind | None = _QUEUE

    def mark(self, asked: GangRequest) -> Json:
        """See `Mechanism`."""
        return {
            "metadata": {"annotations": {"scheduling.k8s.io/group-name": asked.name}},
            "spec": {
                "schedulerName": asked.job.spec.scheduling.scheduler_name or "volcano",
                **topology.priority(asked.job),
                **topology.affinity(asked.job),
            },
        }

    def group(self, asked: GangRequest, pod: Mapping[str, Any]) -> Json | None:
        """See `Mechanism`."""
        least = _least(pod, asked.count)
        return {
            "minMember": asked.count,
            "queue": asked.job.spec.scheduling.queue_name or "default",
            **topology.priority(asked.job),
            **({"minResources": least} if least else {}),
        }

    def admission(self, seen: GangState) -> Admission:
        """See `Mechanism`."""
        if found := placed(seen.pods) or silent(self.title, seen):
            return found
        phase = ((seen.group or {}).get("status") or {}).get("phase", "")
        if phase in _STARTED:
            return Admission(True, Reason.ADMITTED, f"Volcano's PodGroup is {phase}.")
        said = str(conditions(seen.group).get("Unschedulable", {}).get("message") or "")
        if phase == "Inqueue":
            return waiting_for_gang(self.title, said, seen.pods)
        queue = seen.job.spec.scheduling.queue_name or "default"
        word = f" Volcano says: {said.rstrip('.')}." if said else ""
        return Admission(False, Reason.WAITING_FOR_QUOTA, f"{len(seen.pods)} pods wait in Queue {queue}.{word}")


def _least(pod: Mapping[str, Any], count: int) -> dict[str, str]:
    """Devices of the gang: whole numbers only, the rest Volcano counts pod by pod."""
    found: dict[str, int] = {}
    for container in pod["spec"]["containers"]:
        for name, amount in ((container.get("resources") or {}).get("requests") or {}).items():
            if "/" in name and str(amount).isdigit():
                found[name] = found.get(name, 0) + int(amount)
    return {name: str(amount * count) for name, amount in found.items()}
