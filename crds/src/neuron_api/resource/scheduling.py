"""`spec.scheduling`: who decides when the pods of a job may start, and where they stand to each other."""

from enum import StrEnum

from pydantic import Field

from .wire_values import ApiObject

_NAME = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
OBJECT_NAME = rf"^{_NAME}(\.{_NAME})*$"
"""Of most kinds: a DNS name."""
CONFIG_MAP_KEY = r"^[-._a-zA-Z0-9]+$"
LABEL_KEY = rf"^({_NAME}(\.{_NAME})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"


class GangScheduler(StrEnum):
    """What starts all pods of a job or none."""

    NONE = "None"
    """The cluster's scheduler, pod by pod."""
    KUEUE = "Kueue"
    """Kueue's queues, by a group of plain pods."""
    VOLCANO = "Volcano"
    """Volcano's PodGroup (scheduling.volcano.sh/v1beta1)."""
    COSCHEDULING = "Coscheduling"
    """The PodGroup of scheduler-plugins (scheduling.x-k8s.io/v1alpha1)."""
    WORKLOAD = "Workload"
    """Kubernetes' own PodGroup (scheduling.k8s.io/v1beta1), from 1.37 on."""


class TopologyRequest(ApiObject):
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
    """Scheduler that starts all pods of the job or none of them: Kueue, Volcano, Coscheduling, or Workload (Kubernetes
    1.37 with the API scheduling.k8s.io/v1beta1 enabled). None: pods are placed one by one, and some may wait for others
    that find no node. Default None."""

    queue_name: str | None = Field(default=None, min_length=1, max_length=63, pattern=OBJECT_NAME)
    """Queue. With Kueue: a LocalQueue in the job's namespace, required. With Volcano: a Queue, default `default`."""

    priority_class_name: str | None = Field(default=None, min_length=1, max_length=253)
    """With Kueue a WorkloadPriorityClass, which decides about order and preemption in the queue; otherwise the
    PriorityClass of the pods and of their group. Default: the cluster's."""

    scheduler_name: str | None = Field(default=None, min_length=1, max_length=253)
    """Scheduler of the pods. Default: volcano with Volcano, scheduler-plugins-scheduler with Coscheduling, otherwise
    the cluster's."""

    topology: TopologyRequest = TopologyRequest()
    """How near to each other the pods must be: with Kueue by its topology-aware scheduling, otherwise by pod
    affinity."""

    schedule_timeout_seconds: int | None = Field(default=None, ge=1, le=86400)
    """With Coscheduling only: seconds that a placed pod keeps its place while the others of the gang have none.
    Default: the scheduler's."""

    max_priority_boost: int | None = Field(default=None, ge=1, le=20)
    """With Kueue only, whose feature gate PriorityBoost must be on: what the operator may add to the priority of the
    job's Workload while a preemption would lose much. 0 directly after a checkpoint; 1 from ten node-minutes without
    one on, and one more each time that doubles. Default: nothing is added."""
