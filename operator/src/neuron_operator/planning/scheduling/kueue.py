"""Kueue, by its integration of plain pods (`kueue.x-k8s.io/pod-group-name`): no object of ours, no webhook of ours.

Kueue makes a Workload of the group's name once all pods are there, holds them by a scheduling gate, and deletes them
all when it preempts the group; who made them makes new ones. Read in kueue v0.17.0, pkg/controller/jobs/pod.

Two things of it are set here although its webhook would set them:
* the gate, so that pods never start unqueued where Kueue's webhook does not look at their namespace;
* the role hash, which it would work out from affinity and tolerations: a replacement that avoids a faulty node would
  be another role, and Kueue would evict the group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from neuron_api import contract
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.reasons import Reason
from neuron_operator.planning.observation.observation import GroupKind, Pod, QueueKind

from .adapter import Admission, GangRequest, GangState, Json, PodConventions, conditions, transition_time

GATE: Final = "kueue.x-k8s.io/admission"
_PODS: Final = PodConventions(
    finalizer="kueue.x-k8s.io/managed",
    finished_annotations={"kueue.x-k8s.io/retriable-in-group": "false"},
    managed_label="kueue.x-k8s.io/managed",
    follows_pod_fields=False,
    reserved_keys=("kueue.x-k8s.io/",),
)
_VERSIONS: Final = ("kueue.x-k8s.io/v1beta2", "kueue.x-k8s.io/v1beta1")
_KIND: Final = GroupKind(
    _VERSIONS, "workloads", "Workload", own=False, boost_annotation="kueue.x-k8s.io/priority-boost"
)
_QUEUE: Final = QueueKind(_VERSIONS, "localqueues", "LocalQueue")


@dataclass(frozen=True, slots=True)
class Kueue:
    """See the module."""

    title: str = "Kueue"
    kind: GroupKind = _KIND
    queue: QueueKind | None = _QUEUE
    pods: PodConventions = _PODS

    def mark(self, request: GangRequest) -> Json:
        """See `GangSchedulerAdapter`."""
        scheduling = request.job.spec.scheduling
        labels = {
            "kueue.x-k8s.io/queue-name": str(scheduling.queue_name),
            "kueue.x-k8s.io/pod-group-name": request.name,
        }
        if scheduling.priority_class_name:
            labels["kueue.x-k8s.io/priority-class"] = scheduling.priority_class_name
        annotations = {
            "kueue.x-k8s.io/pod-group-total-count": str(request.count),
            "kueue.x-k8s.io/role-hash": contract.CONTAINER,
        }
        for way, key in (("required", scheduling.topology.required), ("preferred", scheduling.topology.preferred)):
            if key:
                annotations[f"kueue.x-k8s.io/podset-{way}-topology"] = key
                annotations["kueue.x-k8s.io/pod-group-pod-index-label"] = contract.LABEL_NODE_RANK
        return {
            "metadata": {"labels": labels, "annotations": annotations},
            "spec": {"schedulingGates": [{"name": GATE}]},
        }

    def group(self, _request: GangRequest, _pod: Mapping[str, Any]) -> Json | None:
        """Kueue makes the Workload."""
        return None

    def admission(self, state: GangState) -> Admission:
        """See `GangSchedulerAdapter`."""
        job, group = state.job, state.group
        gated = [pod for pod in state.pods if GATE in pod.gates]
        by_type = conditions(group)
        if not gated:
            return Admission(
                True, Reason.ADMITTED, _admitted(job, group), since=transition_time(by_type.get("Admitted"))
            )
        if not any(pod.labels.get(_PODS.managed_label) == "true" for pod in gated):
            message = (
                f"Kueue does not manage pods of namespace {job.metadata.namespace}: its webhook has not marked "
                f"{gated[0].name}. Let managedJobsNamespaceSelector and the integrations (pod) of its configuration "
                "include them, then delete the pods."
            )
            return Admission(False, Reason.QUEUE_NOT_IN_CHARGE, message, stalled=True)
        return Admission(False, Reason.WAITING_FOR_QUOTA, _queued(job, group, gated, by_type))


def _admitted(job: NeuronTrainingJob, group: Mapping[str, Any] | None) -> str:
    admission = ((group or {}).get("status") or {}).get("admission") or {}
    by = f" by ClusterQueue {admission['clusterQueue']}" if admission.get("clusterQueue") else ""
    return f"LocalQueue {job.spec.scheduling.queue_name} has admitted the gang{by}."


def _queued(
    job: NeuronTrainingJob,
    group: Mapping[str, Any] | None,
    gated: Sequence[Pod],
    by_type: Mapping[str, Mapping[str, Any]],
) -> str:
    head = f"{len(gated)} pods wait in LocalQueue {job.spec.scheduling.queue_name}."
    if group is None:
        return f"{head} Kueue has made no Workload of them yet; `kubectl describe pod {gated[0].name}` has its events."
    detail = _most_telling(group, by_type)
    return f"{head} Kueue says: {detail.rstrip('.')}." if detail else f"{head} Kueue has not looked at them yet."


def _most_telling(group: Mapping[str, Any], by_type: Mapping[str, Mapping[str, Any]]) -> str:
    """The condition that says most: evicted, waiting for a check, waiting for quota."""
    for kind, status in (("Admitted", "True"), ("Evicted", "True"), ("QuotaReserved", "False")):
        condition = by_type.get(kind, {})
        if condition.get("status") == status and condition.get("message"):
            return str(condition["message"])
    checks = ((group.get("status") or {}).get("admissionChecks")) or ()
    return next(
        (f"{check.get('name')}: {check.get('message')}" for check in checks if check.get("state") != "Ready"), ""
    )
