"""`spec` of a NeuronTrainingJob: the configuration and what Kubernetes needs beside it.

The docstring under a field is its description in the CRD and names the default. Defaults are applied when the operator
reads, never written to the object: with `default:` in the schema `kubectl diff` and GitOps tools would see a difference
after each release that adds a field. Values of enumerations are written as Kubernetes writes them (`PerNode`).
"""

from enum import StrEnum
from typing import Any, Final

from pydantic import Field

from .accelerator import Accelerator
from .elastic import ElasticPolicy
from .scheduling import CONFIG_MAP_KEY, OBJECT_NAME, Scheduling
from .wire_values import ApiObject

MAX_DEVICES: Final = 256
"""Devices of one kind in a node: more than any instance type has."""


class DeviceCountScope(StrEnum):
    """What the number in `trainer.devices` counts."""

    AUTO = "Auto"
    PER_NODE = "PerNode"
    TOTAL = "Total"


class TtlDeletionPolicy(StrEnum):
    """What is deleted when the time after a job's end is over."""

    CHILDREN = "Children"
    JOB = "Job"


class FromScratch(StrEnum):
    """When a job that has finished steps may begin again at step 0."""

    NEVER = "Never"
    BEFORE_FIRST_CHECKPOINT = "BeforeFirstCheckpoint"
    ALWAYS = "Always"

    def allows(self, *, finished_steps: int, has_checkpoint: bool) -> bool:
        """Return whether a start may begin at step 0 after so many steps, with or without a complete checkpoint."""
        if finished_steps == 0 or self is FromScratch.ALWAYS:
            return True
        return self is FromScratch.BEFORE_FIRST_CHECKPOINT and not has_checkpoint


class ResourceClaim(ApiObject):
    """Devices by dynamic resource allocation (DRA)."""

    resource_claim_template_name: str = Field(min_length=1, max_length=253, pattern=OBJECT_NAME)
    """Name of a ResourceClaimTemplate in the job's namespace; each pod gets a claim made from it."""


class Platform(ApiObject):
    """The machines that the job runs on."""

    accelerator: Accelerator = Accelerator.NEURON
    """Neuron: Trainium devices, requires instanceType. CPU: no devices, for laptops and tests. CUDA: one nvidia.com/gpu
    a process, for tests and small GPUs. Default Neuron."""

    instance_type: str | None = Field(default=None, max_length=63)
    """EC2 instance type of the nodes, for example trn2.48xlarge, or ml.trn2.48xlarge on HyperPod; with it the operator
    knows devices, EFA interfaces and the trainer's image, and selects nodes whose label
    node.kubernetes.io/instance-type is this."""

    neuron_devices: int | None = Field(default=None, ge=1, le=MAX_DEVICES)
    """Neuron devices (chips) of a node, as its status.allocatable counts aws.amazon.com/neuron. Set it for a Trainium
    instance type that this release does not know. Default: as published for instanceType."""

    efa_interfaces: int | None = Field(default=None, ge=0, le=MAX_DEVICES)
    """EFA interfaces of a node, as its status.allocatable counts vpc.amazonaws.com/efa. Set it where the number is not
    published. Default: as published for instanceType."""

    resource_claims: tuple[ResourceClaim, ...] = Field(default=(), max_length=8)
    """Claims of each pod, in place of requests for aws.amazon.com/neuron and vpc.amazonaws.com/efa: for nodes with the
    Neuron DRA driver instead of the device plugin. Default: none, devices are requested from the device plugins."""


class VolumeMount(ApiObject):
    """A claim that outlives the pods, mounted into every pod of the job."""

    claim_name: str = Field(min_length=1, max_length=253, pattern=OBJECT_NAME)
    """Name of a PersistentVolumeClaim in the job's namespace; with several nodes it must allow ReadWriteMany."""

    mount_path: str = Field(min_length=1, max_length=1024, pattern="^/.*$")
    """Where the claim appears in the container; absolute. The first writable mount is the working directory, so that
    relative paths of the configuration lie on it."""

    sub_path: str | None = Field(default=None, max_length=1024)
    """Folder of the claim to mount in place of its root."""

    read_only: bool = False
    """Mount for reading only (data sets). Default false."""


class ConfigMapKey(ApiObject):
    """One key of a ConfigMap in the job's namespace."""

    name: str = Field(min_length=1, max_length=253, pattern=OBJECT_NAME)
    """Name of the ConfigMap."""

    key: str = Field(min_length=1, max_length=253, pattern=CONFIG_MAP_KEY)
    """Key that holds the YAML text."""


class ConfigSource(ApiObject):
    """Where the configuration's text is."""

    config_map_key_ref: ConfigMapKey
    """The key of a ConfigMap that holds the YAML file verbatim."""


class CauseBudgets(ApiObject):
    """How many of the counted failures may have the same cause; each also counts against maxGangRestarts."""

    out_of_memory: int | None = Field(default=None, ge=0, le=1000)
    """Containers killed for memory. Default: maxGangRestarts."""

    process_killed: int | None = Field(default=None, ge=0, le=1000)
    """Launchers ended by SIGKILL. Default: maxGangRestarts."""

    pod_failed: int | None = Field(default=None, ge=0, le=1000)
    """Launchers that gave up. Default: maxGangRestarts."""


class RestartPolicy(ApiObject):
    """How many failures of each kind the job may have; disruptions (deleted, evicted or preempted pods) are never
    counted."""

    max_process_restarts: int = Field(default=10, ge=0, le=1000)
    """Restarts of all processes inside the running pods, per pod. Default 10."""

    max_gang_restarts: int = Field(default=3, ge=0, le=1000)
    """How many failures of pods the job may have that restarts inside the pods could not fix, whether one pod or all
    are replaced. Pods that fail within ten seconds of the first count as one failure; disruptions do not count.
    Default 3."""

    budgets: CauseBudgets = CauseBudgets()
    """Lower limits than maxGangRestarts for single causes: a job that ran out of memory usually does so again."""

    window_seconds: int | None = Field(default=None, ge=60, le=31536000)
    """Seconds for which a failure counts against maxGangRestarts and budgets: a job that runs for weeks may have more
    failures if they are far apart. Default: failures count forever."""

    from_scratch: FromScratch = FromScratch.NEVER
    """Whether a job that has finished steps may start again at step 0 when no complete checkpoint is found. Never: the
    job stops and waits (Stalled, NoCheckpointFound). BeforeFirstCheckpoint: only if no checkpoint was ever complete.
    Always: yes. May be changed while the job waits. Default Never."""

    rejoin_timeout_seconds: int = Field(default=900, ge=10, le=86400)
    """Seconds that pods wait for the replacement of a lost pod before all pods are replaced. Default 900."""


class NodePolicy(ApiObject):
    """Which nodes new pods of the job avoid, and what is done about pods on a node that does not answer."""

    exclude_faulty_nodes: bool = True
    """Whether new pods avoid a node whose hardware failed or that repeated failures point to. This is a required node
    affinity of the pods; the node itself is not changed. Default true."""

    exclusion_seconds: int = Field(default=86400, ge=60, le=31536000)
    """Seconds for which a node is excluded. Default 86400, a day."""

    repeat_failures: int = Field(default=3, ge=0, le=1000)
    """Failures blamed on one node after which it is avoided; pods that fall within ten seconds of each other are one.
    0: only for faults of its hardware. Default 3."""

    repeat_window_seconds: int = Field(default=86400, ge=60, le=31536000)
    """Seconds within which they count. Default 86400."""

    avoid_stragglers: bool = False
    """Whether new pods also avoid a node when a process on it is found to be slower than those with the same work
    (status.stragglers). Running pods stay: the next placement avoids it, for exclusionSeconds. It gives way to faulty
    nodes where there is no room for both, and where pods find no other place. Needs excludeFaultyNodes. Default
    false."""

    max_excluded_percent: int = Field(default=10, ge=0, le=100)
    """Maximum percentage of the job's nodes that are excluded at once; at least one is always allowed. Default 10."""

    force_delete_fenced: bool = False
    """True: pods are deleted without an answer of their node once somebody has said that it is off, by the taint
    node.kubernetes.io/out-of-service. Kubernetes does the same a little later. Pods of a node that is merely silent are
    never forced away: two gangs could write to one directory. Default false."""


class HangPolicy(ApiObject):
    """When a job that makes no progress counts as hung. All pods are then replaced, within a budget of its own. Every
    limit is counted from the trainer's last report, by its own clock."""

    enabled: bool = True
    """If false, hangs are not detected. Default true."""

    step_factor: int = Field(default=10, ge=2, le=1000)
    """A step is a hang after this many times the job's own seconds per step (status.progress.secondsPerStep), which are
    known after its first 5 steps. Default 10."""

    min_step_seconds: int = Field(default=60, ge=10, le=86400)
    """Seconds that a step may always take. Default 60."""

    first_step_seconds: int = Field(default=7200, ge=60, le=604800)
    """Seconds for each of the first steps, until the step time is known; kernels and graphs are compiled in them.
    Default 7200: a large model compiles for more than an hour."""

    load_seconds: int = Field(default=3600, ge=60, le=604800)
    """Seconds to build the model, load the checkpoint and seek in the data. Default 3600."""

    save_seconds: int = Field(default=3600, ge=60, le=604800)
    """Seconds to write a checkpoint; the bound of a step does not hold meanwhile. Default 3600."""

    validation_seconds: int = Field(default=7200, ge=60, le=604800)
    """Seconds of one validation; the bound of a step does not hold meanwhile. Default 7200."""

    max_restarts: int = Field(default=3, ge=0, le=1000)
    """Hangs that the job may have, within restartPolicy.windowSeconds where that is set. Default 3."""


class SuspendPolicy(ApiObject):
    """How a job is suspended. SIGTERM makes the trainer finish its step and save, so waiting only spares the work that
    would be lost where that does not fit into the pods' terminationGracePeriodSeconds."""

    checkpoint_wait_seconds: int = Field(default=120, ge=0, le=86400)
    """Seconds that pods may go on when their next periodic checkpoint comes within them; where it does not, they are
    asked to save and end at once. Default 120, as long as their grace; 0: never wait."""


class StartupPolicy(ApiObject):
    """How long the pods may take to come up; what takes longer ends the job with a reason of its own. Without a bound
    they are waited for, since capacity may come, an image may be pushed and a large model may compile for hours; the
    conditions say what is missing all the time. Each bound also holds for pods that replace others."""

    admission_seconds: int | None = Field(default=None, ge=1, le=31536000)
    """Seconds from the creation of the pods until the queue or the gang scheduler of spec.scheduling admits them.
    Default: no bound."""

    scheduling_seconds: int | None = Field(default=None, ge=1, le=31536000)
    """Seconds until a pod has a node: from its creation, or with spec.scheduling.gang from when the gang was admitted,
    so that time in a queue does not count. Default: no bound."""

    image_seconds: int | None = Field(default=None, ge=1, le=31536000)
    """Seconds from then until its container runs: the image is pulled, volumes are mounted. Default: no bound."""

    first_step_seconds: int | None = Field(default=None, ge=1, le=31536000)
    """Seconds from when all containers run until the first step is finished: rendezvous, loading, compiling. Default:
    no bound."""


class CompileMode(StrEnum):
    """When a compile phase comes before training."""

    AUTO = "Auto"
    """Where the device's compiler keeps its graphs and no run with the same fingerprint has compiled them yet."""
    ALWAYS = "Always"
    """At every start of a pod: for a cache from which files may be missing."""
    NEVER = "Never"
    """The first steps compile what they need."""


class CompilePolicy(ApiObject):
    """The compile phase: before training the processes compile what the run needs (steps, validation, DPO's reference)
    into config.compiler_cache_url, without data. Other runs, restarts and pods with the same fingerprint (model, split,
    shapes, precision, flags, versions) take it from there; of two at once one compiles and the other waits."""

    mode: CompileMode = CompileMode.AUTO
    """Auto: once for each fingerprint, where the compiler keeps its graphs. Always: at every start of a pod. Never: the
    first steps compile what they need. Default Auto."""

    timeout_seconds: int | None = Field(default=None, ge=60, le=31536000)
    """Seconds that the phase may take in each start, waiting for another run included; then the job has failed.
    Default: no bound but hangPolicy.firstStepSeconds for each graph."""


class MemoryCheckpoints(ApiObject):
    """Copies of the processes' state in the shared memory of their nodes, made beside training: after a failure the
    newest step that all processes have is taken, from memory or from storage. They need exp_manager.resume_if_exists,
    and do not replace checkpoints: a copy goes with its node."""

    every_steps: int = Field(default=1, ge=1, le=1000000)
    """After how many steps a copy is made: a failure costs so many steps at most. Default 1."""

    replicas: int = Field(default=0, ge=0, le=1)
    """On how many other nodes each copy is held, too. 0: a failed process costs everySteps at most, a lost pod all
    steps since the last checkpoint. 1: a lost pod costs everySteps, too. Default 0."""


class JobSpec(ApiObject):
    """What is to be trained, on what, with which storage."""

    platform: Platform = Platform()
    """The machines that the job runs on."""

    image: str | None = Field(default=None, max_length=1024)
    """Trainer image; its user must be a number other than 0 (the container has runAsNonRoot, which podTemplate may
    unset). Default: the operator's, by accelerator (Helm values trainerImages)."""

    config: dict[str, Any] | None = None
    """The NxDT configuration as an object, key for key. Exactly one of config and configFrom. It cannot be changed
    once the job has been started (status.startTime)."""

    config_from: ConfigSource | None = None
    """The NxDT configuration as the text of a file. Exactly one of config and configFrom."""

    device_count_scope: DeviceCountScope = DeviceCountScope.AUTO
    """What config.trainer.devices counts. PerNode: the processes of one node, as NxDT's launcher and its files have it.
    Total: the processes of all nodes, as NxDT's documentation says. Auto: PerNode, unless the value only fits the nodes
    as a total; then Total, with a warning. Default Auto."""

    storage: tuple[VolumeMount, ...] = Field(default=(), max_length=16)
    """Claims for data, checkpoints and compile cache. Checkpoints must lie on one of them when the job has several
    nodes."""

    pod_template: dict[str, Any] | None = None
    """A partial PodTemplateSpec, merged strategically over the generated pods (containers and volumes by name); the
    trainer's container is called trainer."""

    scheduling: Scheduling = Scheduling()
    """Queue, gang, priority and topology."""

    restart_policy: RestartPolicy = RestartPolicy()
    """How many failures of each kind the job may have."""

    node_policy: NodePolicy = NodePolicy()
    """Which nodes new pods avoid."""

    hang_policy: HangPolicy = HangPolicy()
    """When a job that makes no progress counts as hung."""

    elastic_policy: ElasticPolicy | None = None
    """How the number of nodes may change while the job lives; may be changed at any time. Default: it does not
    change."""

    suspend: bool = False
    """True takes the pods away: they save and end, and their nodes are free; false goes on from there, as a new attempt
    that no budget counts. A job that is created with true starts nothing. May be changed at any time. Default false."""

    suspend_policy: SuspendPolicy = SuspendPolicy()
    """How a job is suspended."""

    active_deadline_seconds: int | None = Field(default=None, ge=1, le=31536000)
    """Seconds from the start after which the job is ended: its pods save, and it has failed. Time in which it was
    suspended, or in its compile phase (status.compilation), does not count. May be changed while the job runs.
    Default: no deadline."""

    startup_policy: StartupPolicy = StartupPolicy()
    """How long the pods may take to come up."""

    compile_policy: CompilePolicy = CompilePolicy()
    """Whether what the run needs is compiled before training."""

    memory_checkpoints: MemoryCheckpoints | None = None
    """Copies of the state in shared memory. Default: none; a failure costs all steps since the last checkpoint."""

    ttl_seconds_after_finished: int | None = Field(default=None, ge=0, le=31536000)
    """Seconds after the end of the job until its pods, with their logs, its Service and its ConfigMap are deleted. May
    be changed at any time. Default: they stay as long as the job."""

    ttl_deletion_policy: TtlDeletionPolicy = TtlDeletionPolicy.CHILDREN
    """What ttlSecondsAfterFinished deletes. Children: pods, Service and ConfigMap; the job stays with its status. Job:
    the job as well. A GitOps tool would then create it again, and it would train again. Default Children."""
