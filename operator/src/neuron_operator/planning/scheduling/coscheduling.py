"""The Coscheduling plugin of scheduler-plugins: a PodGroup, and pods that carry its name as a label.

The plugin counts the pods that carry the label (PreFilter) and keeps those that fit until `minMember` of them have a
place (Permit). Its status is written by a controller of its own that need not be installed, so what pods say decides.
Read in scheduler-plugins v0.34.7, pkg/coscheduling.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from neuron_operator.planning.observation.observation import GroupKind, QueueKind

from . import default_scheduler
from .adapter import Admission, GangRequest, GangState, Json, PodConventions, placed, unresponsive, waiting_for_gang

_KIND: Final = GroupKind(("scheduling.x-k8s.io/v1alpha1",), "podgroups", "PodGroup")
_PODS: Final = PodConventions(reserved_keys=("scheduling.x-k8s.io/", "pod-group.scheduling.sigs.k8s.io"))


@dataclass(frozen=True, slots=True)
class Coscheduling:
    """See the module."""

    title: str = "The Coscheduling plugin"
    kind: GroupKind = _KIND
    queue: QueueKind | None = None
    pods: PodConventions = _PODS

    def mark(self, request: GangRequest) -> Json:
        """See `GangSchedulerAdapter`."""
        return {
            "metadata": {"labels": {"scheduling.x-k8s.io/pod-group": request.name}},
            "spec": {
                "schedulerName": request.job.spec.scheduling.scheduler_name or "scheduler-plugins-scheduler",
                **default_scheduler.priority(request.job),
                **default_scheduler.affinity(request.job),
            },
        }

    def group(self, request: GangRequest, _pod: Mapping[str, Any]) -> Json | None:
        """See `GangSchedulerAdapter`."""
        timeout = request.job.spec.scheduling.schedule_timeout_seconds
        return {"minMember": request.count, **({"scheduleTimeoutSeconds": timeout} if timeout else {})}

    def admission(self, state: GangState) -> Admission:
        """See `GangSchedulerAdapter`."""
        return placed(state.pods) or unresponsive(self.title, state) or waiting_for_gang(self.title, "", state.pods)
