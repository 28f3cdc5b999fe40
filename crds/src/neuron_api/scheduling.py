"""`spec.scheduling`: who decides when the pods of a job may start, and where they stand to each other."""

from enum import StrEnum

from pydantic import Field

from .api_object import ApiObject

_NAME = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
LABEL_KEY = rf"^({_NAME}(\.{_NAME})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"


class GangScheduler(StrEnum):
    """What starts all pods of a job or none."""

    NONE = "none"
    """The cluster's scheduler, pod by pod."""
    KUEUE = "kueue"
    """Kueue's queues, by a group of plain pods."""
    VOLCANO = "volcano"
    """Volcano's PodGroup (scheduling.volcano.sh/v1beta1)."""
    COSCHEDULING = "coscheduling"
    """The PodGroup of scheduler-plugins (scheduling.x-k8s.io/v1alpha1)."""
    WORKLOAD = "workload"
    """Kubernetes' own PodGroup (scheduling.k8s.io/v1beta1), from 1.37 on."""


class Topology(ApiObject):
    """How near to each other the pods must be, by labels of nodes."""

    required: str | None = Field(default=None, max_length=317, pattern=LABEL_KEY)
    """Label whose value must be the same for all nodes of the job, for example topology.kubernetes.io/zone: EFA does
    not cross availability zones. Pods that find no such place wait."""

    preferred: str | None = Field(default=None, max_length=317, pattern=LABEL_KEY)
    """Label whose value should be the same for the nodes of the job, for example
    topology.k8s.aws/network-node-layer-3: fewer hops between them."""


class Scheduling(ApiObject):
    """Queue, gang, priority and topology. Each scheduler must be installed in the cluster, and allowed to the operator
    (Helm value gangSchedulers)."""

    gang: GangScheduler = GangScheduler.NONE
    """Who starts all pods or none: none, kueue, volcano, coscheduling or workload (Kubernetes 1.37 with the API
    scheduling.k8s.io/v1beta1 on). Default none: pods are placed one by one, and may wait for each other half placed."""

    queue_name: str | None = Field(default=None, min_length=1, max_length=63)
    """Queue: with kueue a LocalQueue in the job's namespace (must be given), with volcano a Queue. Default with
    volcano: default."""

    priority_class_name: str | None = Field(default=None, min_length=1, max_length=253)
    """With kueue a WorkloadPriorityClass, which decides about order and preemption in the queue; otherwise the
    PriorityClass of the pods and of their group. Default: the cluster's."""

    scheduler_name: str | None = Field(default=None, min_length=1, max_length=253)
    """Scheduler of the pods. Default: volcano with volcano, scheduler-plugins-scheduler with coscheduling, otherwise
    the cluster's."""

    topology: Topology = Topology()
    """How near to each other the pods must be: with kueue by its topology-aware scheduling, otherwise by pod
    affinity."""

    schedule_timeout_seconds: int | None = Field(default=None, ge=1, le=86400)
    """With coscheduling only: seconds that a placed pod keeps its place while the others of the gang have none.
    Default: the scheduler's."""
