"""What a pass has seen, typed and trimmed: the input of the planner."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from neuron_api import contract
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.progress import Progress


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of a job, as far as the planner cares."""

    name: str
    uid: str
    index: int
    attempt: int
    node: str = ""
    address: str = ""
    """Pod IP; empty until the sandbox is up."""
    ready: bool = False
    running: bool = False
    """The trainer's container runs."""
    occupied: bool = False
    """Some container runs, the trainer's or another of the user's template."""
    terminating: bool = False
    failed: bool = False
    """The pod is over and did not succeed, or the trainer's container ended with a code other than 0."""
    succeeded: bool = False
    exit_code: int | None = None
    """Of the trainer's container; None while it runs, and where the kubelet never told."""
    created_at: datetime | None = None
    scheduled_at: datetime | None = None
    """When it got its node."""
    started_at: datetime | None = None
    """When the trainer's container started; None where it does not run."""
    finished_at: datetime | None = None
    termination_reason: str = ""
    """The container's, such as OOMKilled."""
    termination_message: str = ""
    pod_reason: str = ""
    """`status.reason`: Evicted, NodeLost, …"""
    pod_message: str = ""
    """`status.message`: what the kubelet says about it."""
    disruption: str = ""
    """Reason of the condition that takes it away (`pods.DISRUPTIONS`), where it is True."""
    disruption_message: str = ""
    """What is said about that, such as who preempted it."""
    unschedulable: str = ""
    """What the scheduler says, where it found no node."""
    scheduler: str = ""
    """Name of the scheduler that it asks for."""
    seen_by_scheduler: bool = False
    """Some scheduler has said something about it."""
    gates: tuple[str, ...] = ()
    """Scheduling gates: no scheduler looks at it while there is one."""
    labels: Mapping[str, str] = field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    """What must let go of it before it can vanish."""
    resource_version: str = ""
    waiting_reason: str = ""
    """Why a container has not been started."""
    waiting_message: str = ""
    avoids: frozenset[str] = frozenset()
    """Host names of the nodes that it was created to avoid."""
    image: str = ""
    """Of the container that waits, or of the trainer's."""

    @property
    def over(self) -> bool:
        """Return whether it will never run again."""
        return self.failed or self.succeeded

    @property
    def is_standby(self) -> bool:
        """Return whether it only holds a node for a growth of the job."""
        return contract.LABEL_STANDBY in self.labels


@dataclass(frozen=True, slots=True)
class NodeCondition:
    """What a node says about itself."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Taint:
    """Why a node takes no pods."""

    key: str
    value: str = ""
    effect: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a pod in trouble, as far as the planner cares."""

    name: str
    hostname: str
    conditions: tuple[NodeCondition, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()

    @property
    def silent_since(self) -> datetime | None:
        """The time since which its kubelet is not known to be well; None: it is, or no time is reported."""
        ready = next((condition for condition in self.conditions if condition.type == "Ready"), None)
        return ready.since if ready and ready.status != "True" else None

    @property
    def is_fenced(self) -> bool:
        """Return whether it does not answer, and somebody has said that it is off."""
        return self.silent_since is not None and any(taint.key == OUT_OF_SERVICE for taint in self.taints)


OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


@dataclass(frozen=True, slots=True)
class Child:
    """An object with a name that the job needs: Service, ConfigMap, or what stands for the gang at its scheduler."""

    owner_uid: str
    """UID of the controlling owner; empty without one."""
    body: Mapping[str, object]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self._metadata.get("name", ""))

    @property
    def uid(self) -> str:
        """Its UID."""
        return str(self._metadata.get("uid", ""))

    @property
    def terminating(self) -> bool:
        """Return whether it is being deleted."""
        return "deletionTimestamp" in self._metadata

    @property
    def _metadata(self) -> Mapping[str, object]:
        metadata = self.body.get("metadata")
        return metadata if isinstance(metadata, Mapping) else {}


@dataclass(frozen=True, slots=True)
class GroupKind:
    """Of the object that stands for a gang at its scheduler."""

    api_versions: tuple[str, ...]
    """The first that is served is used."""
    plural: str
    kind: str
    own: bool = True
    """The operator makes and deletes it; otherwise the scheduler does."""
    boost_annotation: str = ""
    """Its annotation that the scheduler adds to the priority; empty: it has none."""


@dataclass(frozen=True, slots=True)
class QueueKind:
    """Of a queue that must be there."""

    api_versions: tuple[str, ...]
    plural: str
    kind: str
    namespaced: bool = True


@dataclass(frozen=True, slots=True)
class SchedulerState:
    """What was seen of the scheduler that spec.scheduling names."""

    served: bool
    """Its API is there."""
    groups: tuple[Child, ...] = ()
    """The objects of the job's gangs."""
    queue: bool | None = None
    """Whether its queue is there; None: it has none, or nobody may tell."""


@dataclass(frozen=True, slots=True)
class ConfigText:
    """Where the configuration of this pass came from."""

    text: str | None
    """None: it is not there; `missing` says what."""
    missing: str = ""
    frozen: bool = False
    """It is the job's own copy, which does not change."""


@dataclass(frozen=True, slots=True)
class Observed:
    """All that one pass has read."""

    job: NeuronTrainingJob
    config: ConfigText
    pods: tuple[Pod, ...] = ()
    """Pods that the job owns, of every attempt."""
    foreign_pods: tuple[str, ...] = ()
    """Names of pods that carry the job's name but not its UID: of an earlier job of this name."""
    abandoned: tuple[Pod, ...] = ()
    """Those pods themselves."""
    scheduler: SchedulerState | None = None
    """None: not looked at, since none is asked for or the operator may not use it."""
    service: Child | None = None
    config_map: Child | None = None
    missing_claims: tuple[str, ...] = ()
    """Names of spec.storage that are not there."""
    lost_nodes: frozenset[str] = frozenset()
    """Nodes of pods in trouble whose Node object is gone; with nodePolicy.forceDeleteFenced also those that are off."""
    nodes: Mapping[str, Node] = field(default_factory=dict)
    """Nodes of pods in trouble that are there, as far as the operator may read them."""
    reports: Mapping[int, Progress] = field(default_factory=dict)
    """Progress reports by index: of pod 0, and of all pods when there is a failure to look into."""
    last_write: datetime | None = None
    """When this operator last wrote the job's status."""

    @property
    def report(self) -> Progress | None:
        """The report of pod 0."""
        return self.reports.get(0)
