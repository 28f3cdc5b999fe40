"""The Coscheduling plugin of scheduler-plugins: a PodGroup, and pods that carry its name as a label.

The plugin counts the pods that carry the label (PreFilter) and keeps those that fit until `minMember` of them have a
place (Permit). Its status is written by a controller of its own that need not be installed, so what pods say decides.
Read in scheduler-plugins v0.34.7, pkg/coscheduling.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from neuron_operator.planning.observation.observation import GroupKind, QueueKind

from . import topology
from .adapter import Admission, GangRequest, GangState, Json, placed, silent, waiting_for_gang

_KIND: Final = GroupKind(("scheduling.x-k8s.io/v1alpha1",), "podgroups", "PodGroup")


@dataclass(frozen=True, slots=True)
class Coscheduling:
    """See the module."""

    title: str = "The Coscheduling plugin"
    kind: GroupKind = _KIND
    queue: QueueKind | None = None

    def mark(self, asked: GangRequest) -> Json:
        """See `Mechanism`."""
        return {
            "metadata": {"labels": {"scheduling.x-k8s.io/pod-group": asked.name}},
            "spec": {
                "schedulerName": asked.job.spec.scheduling.scheduler_name or "scheduler-plugins-scheduler",
                **topology.priority(asked.job),
                **topology.affinity(asked.job),
            },
        }

    def group(self, asked: GangRequest, _pod: Mapping[str, Any]) -> Json | None:
        """See `Mechanism`."""
        timeout = asked.job.spec.scheduling.schedule_timeout_seconds
        return {"minMember": asked.count, **({"scheduleTimeoutSeconds": timeout} if timeout else {})}

    def admission(self, seen: GangState) -> Admission:
        """See `Mechanism`."""
        return placed(seen.pods) or silent(self.title, seen) or waiting_for_gang(self.title, "", seen.pods)
