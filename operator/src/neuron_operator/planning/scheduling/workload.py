"""Kubernetes' own gangs: a PodGroup of scheduling.k8s.io/v1beta1, from 1.37 on (KEP-4671).

Needs the feature gates GenericWorkload and GangScheduling, and the API version switched on. The alphas are not
supported: 1.35 had a Workload and `spec.workloadRef` (v1alpha1), 1.36 a PodGroup of v1alpha2; both versions are gone in
1.37. A PodGroup stands alone here: its `workloadRef` is optional, and one gang needs no template for gangs.
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
    transition_time,
    unresponsive,
    waiting_for_gang,
)

_KIND: Final = GroupKind(("scheduling.k8s.io/v1beta1",), "podgroups", "PodGroup")
_PODS: Final = PodConventions()


@dataclass(frozen=True, slots=True)
class Workload:
    """See the module."""

    title: str = "Kubernetes' gang scheduling (scheduling.k8s.io/v1beta1)"
    kind: GroupKind = _KIND
    queue: QueueKind | None = None
    pods: PodConventions = _PODS

    def mark(self, request: GangRequest) -> Json:
        """See `GangSchedulerAdapter`."""
        name = request.job.spec.scheduling.scheduler_name
        return {
            "spec": {
                "schedulingGroup": {"podGroupName": request.name},
                **({"schedulerName": name} if name else {}),
                **default_scheduler.priority(request.job),
                **default_scheduler.affinity(request.job),
            }
        }

    def group(self, request: GangRequest, _pod: Mapping[str, Any]) -> Json | None:
        """See `GangSchedulerAdapter`."""
        return {
            "schedulingPolicy": {"gang": {"minCount": request.count}},
            "disruptionMode": {"all": {}},
            **default_scheduler.priority(request.job),
        }

    def admission(self, state: GangState) -> Admission:
        """See `GangSchedulerAdapter`."""
        if decision := placed(state.pods) or unresponsive(self.title, state):
            return decision
        condition = conditions(state.group).get("PodGroupInitiallyScheduled", {})
        if condition.get("status") == "True":
            return Admission(True, Reason.ADMITTED, "The gang was admitted together.", since=transition_time(condition))
        return waiting_for_gang("The scheduler", str(condition.get("message") or ""), state.pods)
