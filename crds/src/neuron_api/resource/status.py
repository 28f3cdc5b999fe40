"""`status` of a NeuronTrainingJob, for people and tools. Only the operator writes it, once per reconcile.

Operator and CRD may be of different releases: an operator is rolled back, a CRD is upgraded late. So reasons, causes
and phases are open words: the CRD checks their form, and unknown words and fields are preserved. A field that was
renamed is read by its former name, too, and written by its new one (docs/upgrade.md).
"""

from enum import StrEnum
from typing import Annotated

from pydantic import AliasChoices, AwareDatetime, BeforeValidator, Field

from neuron_api.contract import MAX_NODES, MAX_SPIKES, MAX_STRAGGLERS

from .elastic import ElasticStatus
from .progress import SpikeStatus, StragglerStatus
from .reasons import ConditionType, Reason
from .time_spent import TimeSpent
from .wire_values import Decimal, StatusObject


class Phase(StrEnum):
    """One word for people; programs read the conditions."""

    PENDING = "Pending"
    """Accepted, or waiting for something that the conditions name."""
    STARTING = "Starting"
    """Pods exist; no step has been finished in this attempt."""
    COMPILING = "Compiling"
    """Processes compile what the run needs, before its first step (status.compilation)."""
    RUNNING = "Running"
    RESTARTING = "Restarting"
    """A failure or a lost pod is being recovered from."""
    SUSPENDING = "Suspending"
    """spec.suspend is set; pods go on to a near checkpoint, or are saving and ending."""
    SUSPENDED = "Suspended"
    """spec.suspend is set and no pod runs."""
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class ConditionStatus(StrEnum):
    """As in metav1.Condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class RestartScope(StrEnum):
    """What a restart replaces, cheapest first."""

    PROCESS = "Process"
    """All processes restarted inside the same pods."""
    POD = "Pod"
    """One lost pod replaced; the others waited."""
    GANG = "Gang"
    """All pods replaced."""


OpenReason = Annotated[Reason | str, Field(union_mode="left_to_right")]
OpenConditionType = Annotated[ConditionType | str, Field(union_mode="left_to_right")]
OpenPhase = Annotated[Phase | str, Field(union_mode="left_to_right")]
OpenScope = Annotated[RestartScope | str, Field(union_mode="left_to_right")]
"""Each is a member of its enumeration, or a word of another release."""


def _renamed(name: str, former: str) -> AliasChoices:
    """Return the names by which a field is read: its name on the wire, else the one of releases before."""
    return AliasChoices(name, former)


def _first_of_two(value: object) -> object:
    """Return the 1 of "1/2": ready nodes of all nodes, as releases before wrote them."""
    ready, slash, _ = value.partition("/") if isinstance(value, str) else ("", "", "")
    return int(ready) if slash and ready.isdecimal() else value


class Condition(StatusObject):
    """metav1.Condition."""

    type: OpenConditionType
    """Kind of the condition."""
    status: ConditionStatus
    """True, False or Unknown."""
    reason: OpenReason
    """One word out of a documented list (docs/reference/reasons.md)."""
    message: str = Field(default="", max_length=32768)
    """A sentence for people: what, which key, what to do."""
    observed_generation: int = 0
    """Generation of the spec that this describes."""
    last_transition_time: AwareDatetime
    """When the status of this condition last changed."""


class Restart(StatusObject):
    """One line of the ledger: what happened, what it cost."""

    restart_scope: Annotated[OpenScope, "conditional"] = Field(validation_alias=_renamed("restartScope", "rung"))
    """What was restarted. Process: all processes, inside the same pods. Pod: one pod. Gang: all pods."""
    cause: OpenReason
    """Why."""
    time: AwareDatetime
    """When the failure was seen."""
    attempt: int = 0
    """Gang attempt in which it happened."""
    pod: str = ""
    """Pod of the first failure."""
    pod_uid: str = Field(default="", alias="podUID", validation_alias=_renamed("podUID", "podUid"))
    """UID of that pod; one loss is counted once."""
    round: int | None = None
    """Rendezvous round that ended with it."""
    node: str = ""
    """Node that the pod was on."""
    rank: int | None = None
    """Global rank of the first failing process, where one failed."""
    exit_code: int | None = None
    """Its exit code; negative: the signal that ended it."""
    neuron_code: int | None = None
    """Code of the Neuron runtime (NRT) in what it said."""
    rule: str = Field(default="", max_length=63)
    """Entry of the failure table that says what it was."""
    message: str = Field(default="", max_length=1024)
    """Last line that it said."""
    log_tail: tuple[str, ...] = Field(default=(), max_length=8, validation_alias=_renamed("logTail", "lines"))
    """Lines before that one, oldest first, each cut to 240 characters: of the traceback; without a traceback, of the
    process's standard error."""
    step: int | None = None
    """Last finished step when it happened."""
    resumed_from_step: int | None = None
    """Step of the checkpoint that training went on from."""
    resume_source: str = Field(default="", max_length=63)
    """Where that step was: Storage (a checkpoint), Memory (the nodes' shared memory), Peer (shared memory, of which
    another node had a part). Empty if no step was resumed, and from older trainers."""
    steps_lost: int | None = None
    """Finished steps that had to be done again."""
    skipped_checkpoints: str = Field(
        default="", max_length=1024, validation_alias=_renamed("skippedCheckpoints", "passedOver")
    )
    """Why newer checkpoints were not used; empty if the newest was."""
    detection_seconds: Decimal | None = None
    """Seconds from the failure, by the node's clock (of a hang: from the last finished step), until the operator saw
    it; absent if the time of the failure is unknown or the clocks contradict each other."""
    recovered_time: AwareDatetime | None = None
    """When the first step after it was finished."""
    recovery_seconds: Decimal | None = None
    """Seconds from the failure to that step, without suspensions."""
    suspended_seconds: Decimal | None = None
    """Seconds for which the job had been suspended, if this entry resumes it."""


class PodStatus(StatusObject):
    """One pod of the gang as last seen."""

    name: str
    """Name of the pod."""
    uid: str
    """UID of the pod."""
    node: str = ""
    """Node that it is on."""
    ready: bool = False
    """Whether its launcher answers."""
    succeeded: bool = False
    """Whether its launcher has ended with exit code 0."""
    lost: bool = False
    """Whether its successor is awaited: its loss is in the ledger, or it is recreated for another node."""


class ExcludedNode(StatusObject):
    """A node that new pods of the job avoid."""

    node: str
    """Name of the node."""
    hostname: str
    """Its label kubernetes.io/hostname, by which pods avoid it."""
    reason: OpenReason
    """HardwareFault, RepeatedFailures or Straggler."""
    message: str = Field(default="", max_length=1024)
    """What it was excluded for."""
    exclusion_time: Annotated[AwareDatetime, "conditional"] = Field(validation_alias=_renamed("exclusionTime", "since"))
    """When it was excluded."""
    expiration_time: Annotated[AwareDatetime, "conditional"] = Field(
        validation_alias=_renamed("expirationTime", "until")
    )
    """When it may be used again."""


class TopologyStatus(StatusObject):
    """The shape that the configuration asks for."""

    nodes: int
    """Pods of the job, one per node."""
    processes_per_node: int
    """Processes in each pod."""
    world_size: int
    """All processes."""
    tensor_parallel: int
    """Processes that share a layer."""
    data_parallel: int
    """Copies of the model."""
    micro_batches: int
    """Micro-batches per optimizer step."""
    neuron_devices_per_node: int = 0
    """Requested aws.amazon.com/neuron per pod."""
    efa_per_node: int = 0
    """Requested vpc.amazonaws.com/efa per pod."""


class ProgressStatus(StatusObject):
    """Where the training is, as the trainer reports it."""

    step: int = 0
    """Finished optimizer steps."""
    max_steps: int | None = None
    """Steps after which training ends."""
    furthest_step: int = 0
    """Most steps that were ever finished; more than step while steps are done again."""
    loss: Decimal | None = None
    """Loss of the last finished step, a decimal number."""
    tokens_per_second: Decimal | None = None
    """Tokens per second over all processes, a decimal number."""
    mfu: Decimal | None = None
    """Model FLOPs utilization, a decimal number from 0 to 1: the share of the devices' peak that the job reaches.
    Absent if the peak is unknown."""
    metrics: dict[str, Decimal] = Field(default_factory=dict, max_length=64)
    """Of the last finished step beside the loss, decimal numbers by name: the rewards of DPO and ORPO."""
    reference_time: AwareDatetime | None = None
    """When reference log-probabilities of DPO were last computed, before the first step;
    startupPolicy.firstStepSeconds counts from there."""
    last_step_time: AwareDatetime | None = None
    """When the last step was finished."""
    pod_uid: str = Field(default="", alias="podUID", validation_alias=_renamed("podUID", "podUid"))
    """UID of the pod that reported it; rounds count from 0 in each pod."""
    seconds_per_step: Decimal | None = None
    """Average over the last steps of this round, saves and validation included; the newest count most."""
    measured_steps: int = 0
    """Steps in secondsPerStep."""
    total_step_seconds: Decimal = 0.0
    """Seconds that all measured steps took, over all rounds; goodput follows from it."""
    total_measured_steps: int = 0
    """Steps in totalStepSeconds; the first of each start, which compiles, is none of them."""
    estimated_completion_time: AwareDatetime | None = None
    """When maxSteps is reached at secondsPerStep if nothing fails; absent while the job does not train, before its pace
    is known, and without maxSteps."""
    time_remaining: str = Field(default="", max_length=16)
    """Time from the last step until then, for people: 12m, 3h05m, 2d4h. Programs read estimatedCompletionTime."""
    round: int = 0
    """Rendezvous round that the processes are in; failures of earlier rounds are in the ledger."""


class CompilationStatus(StatusObject):
    """The compile phase, as pod 0 reports it."""

    part: str = Field(default="", max_length=253)
    """What is being compiled: training step, validation, reference."""
    done: int = 0
    """Graphs that are there, compiled or taken from the cache; of the first process."""
    expected: int = 0
    """Graphs that are expected so far; more may turn out to be needed."""
    compiled: int = 0
    """Those of done that were compiled in this phase."""
    holder: str = Field(default="", max_length=1024)
    """The run that compiles the same and is waited for; empty while none is."""
    start_time: AwareDatetime
    """When the phase began."""
    time: AwareDatetime
    """When the newest graph was there, or a failure ended the phase."""
    complete: bool = False
    """Whether the phase is over: training follows, or after a failure another phase."""
    earlier_seconds: Decimal = 0.0
    """Seconds of phases before it, of pods that were lost or replaced."""
    pod_uid: str = Field(default="", alias="podUID", max_length=253)
    """UID of the pod that reported it."""

    @property
    def seconds(self) -> float:
        """Return the seconds from the start to the newest graph, or to the failure that ended the phase."""
        return max(0.0, (self.time - self.start_time).total_seconds())


class CheckpointStatus(StatusObject):
    """The newest complete checkpoint."""

    step: int
    """Its step."""
    path: str
    """Directory, as the pods see it."""
    time: AwareDatetime
    """When it was complete."""
    verified: bool = False
    """Whether every file has been read back and compared with the manifest; done before each resume."""


class CheckpointGateStatus(StatusObject):
    """Why the job waits without pods, until somebody acts."""

    reason: OpenReason
    """One word out of the list of reasons."""
    message: str = Field(default="", max_length=4096)
    """What was found, and what to do."""
    time: AwareDatetime
    """Since when."""


class CountedFailure(StatusObject):
    """A failure that uses up a part of a budget."""

    cause: OpenReason
    """What it was."""
    time: AwareDatetime
    """When it was seen; it counts for restartPolicy.windowSeconds from then."""


class SuspensionStatus(StatusObject):
    """How far the job is with being suspended."""

    request_time: AwareDatetime
    """When spec.suspend was seen."""
    awaited_step: int | None = None
    """Step of the checkpoint that is waited for; absent where none is near."""
    stop_time: AwareDatetime | None = None
    """When the pods were asked to save and end; from then on no deadline runs."""


class JobStatus(StatusObject):
    """What has become of the job."""

    observed_generation: int = 0
    """Generation of the spec that this status describes."""
    phase: OpenPhase = Phase.PENDING
    """Pending, Starting, Compiling, Running, Restarting, Suspending, Suspended, Succeeded or Failed."""
    conditions: tuple[Condition, ...] = Field(default=(), max_length=32)
    """Ready, Reconciling, Stalled (kstatus) and ConfigValid, Admitted, PodsReady, Progressing, Restarting, Suspended,
    Succeeded, Failed."""
    attempt: int = 0
    """Number of the gang attempt; pods carry it as a label."""
    config_hash: str = ""
    """SHA-256 of the effective configuration."""
    topology: TopologyStatus | None = None
    """The shape that the configuration asks for."""
    elastic: ElasticStatus | None = None
    """The number of nodes where it may change; absent without spec.elasticPolicy."""
    ready_nodes: Annotated[int | None, BeforeValidator(_first_of_two)] = Field(
        default=None, validation_alias=_renamed("readyNodes", "nodesReady")
    )
    """Pods that are ready, of topology.nodes; absent once the job is over."""
    pods: tuple[PodStatus, ...] = Field(default=(), max_length=MAX_NODES)
    """The pods of the current attempt by index."""
    progress: ProgressStatus | None = None
    """Where the training is."""
    compilation: CompilationStatus | None = None
    """The newest compile phase; absent where there was none."""
    checkpoint: CheckpointStatus | None = None
    """The newest complete checkpoint."""
    resume: tuple[Annotated[str, Field(max_length=1024)], ...] = Field(default=(), max_length=128)
    """How the newest start resumed: the step, and a line for each key of the configuration that differs from the one
    that the checkpoint was written with. Empty where nothing was resumed."""
    restarts: tuple[Restart, ...] = Field(default=(), max_length=64)
    """Ledger of the last 64 restarts, oldest first."""
    restart_count: int = 0
    """All restarts of every scope."""
    gang_failures: int = 0
    """Failures of the job's own, ever; disruptions are none."""
    counted_failures: tuple[CountedFailure, ...] = Field(default=(), max_length=2048)
    """Those that count against the budgets of restartPolicy now, oldest first."""
    excluded_nodes: tuple[ExcludedNode, ...] = Field(default=(), max_length=512)
    """Nodes that new pods avoid, each for a time (nodePolicy)."""
    spikes: tuple[SpikeStatus, ...] = Field(default=(), max_length=MAX_SPIKES)
    """The newest steps whose loss or gradient norm was far above the usual, the newest last."""
    stragglers: tuple[StragglerStatus, ...] = Field(default=(), max_length=MAX_STRAGGLERS)
    """Processes that are slow now, each with its node and the evidence; empty again when they are as fast as the
    others."""
    steps_lost: int = 0
    """Sum of the steps that had to be done again."""
    goodput: Decimal | None = None
    """Share of the time since startTime, without suspensions, spent on steps that were kept; a decimal number from 0 to
    1. It is step x average seconds of a step / seconds from startTime to the last step (at the end: to completionTime).
    The rest went into waiting for nodes, start, compilation, recoveries, and repeated steps."""
    time_spent: TimeSpent | None = None
    """Where the time of the job went, second by second; absent until an operator of this release has looked at it."""
    start_time: AwareDatetime | None = None
    """When the job was started: its pods are created from then on, and its configuration is fixed."""
    checkpoint_gate: CheckpointGateStatus | None = Field(
        default=None, validation_alias=_renamed("checkpointGate", "hold")
    )
    """Set while the job waits because no complete checkpoint was found and it must not start again at step 0."""
    suspension: SuspensionStatus | None = None
    """Where spec.suspend is set: how far that is."""
    suspended_seconds: Decimal = 0.0
    """Seconds for which the job was suspended before, in total; deadlines do not count them."""
    completion_time: AwareDatetime | None = None
    """When the job succeeded or failed."""

    @property
    def finished(self) -> bool:
        """Return whether the job is over; it is never started again then. An unknown phase of another release does not
        say so; a completion time does."""
        if isinstance(self.phase, Phase):
            return self.phase in (Phase.SUCCEEDED, Phase.FAILED)
        return self.completion_time is not None
