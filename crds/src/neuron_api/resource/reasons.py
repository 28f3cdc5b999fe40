"""Types and reasons of conditions, causes of restarts: the list of this release, each with one meaning, one remedy
and who responds.

In a status they are open (`status`): another release may have more of them.

`docs/reference/reasons.md` is generated from this module.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class ConditionType(StrEnum):
    """Ready, Reconciling and Stalled follow kstatus, so `kubectl wait`, Helm, Flux and Argo CD understand them."""

    READY = "Ready"
    """True when the job is doing, or has done, what its spec asks for."""
    RECONCILING = "Reconciling"
    """True while the operator works towards that."""
    STALLED = "Stalled"
    """True when nothing will go on without somebody's help; the message says what to do."""
    CONFIG_VALID = "ConfigValid"
    """Whether the configuration and the platform fit."""
    ADMITTED = "Admitted"
    """Whether the queue or the gang scheduler of spec.scheduling lets the pods start."""
    PODS_READY = "PodsReady"
    """Whether all pods of the attempt are up."""
    PROGRESSING = "Progressing"
    """Whether optimizer steps are being finished."""
    RESTARTING = "Restarting"
    """True between a failure and the first step after it."""
    SUSPENDED = "Suspended"
    """True when spec.suspend is set and no pod runs."""
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Reason(StrEnum):
    """Why a condition is as it is, or why something was restarted."""

    # -- configuration
    CONFIG_ACCEPTED = "ConfigAccepted"
    """The configuration is understood and fits the platform. Nothing to do."""
    CONFIG_ACCEPTED_WITH_WARNINGS = "ConfigAcceptedWithWarnings"
    """The job runs; the message lists what is probably unintended. Read it once."""
    CONFIG_INVALID = "ConfigInvalid"
    """The configuration cannot be trained as it is. Fix the keys listed in the message."""
    CONFIG_MAP_NOT_FOUND = "ConfigMapNotFound"
    """spec.configFrom names a ConfigMap or a key that does not exist. Create it; the job then continues."""
    STORAGE_MISSING = "StorageMissing"
    """Several nodes, but no writable claim for checkpoints. Add one to spec.storage."""

    STATUS_REFUSED = "StatusRefused"
    """The API server does not store the job's whole status: the CRD is of another release than the operator. Apply the
    CRD of the operator's release; the job then continues. Its pods keep running until then."""

    # -- queues and gangs
    NOT_QUEUED = "NotQueued"
    """spec.scheduling.gang is None, so no queue is used. Nothing to do."""
    ADMITTED = "Admitted"
    """The queue or the gang scheduler lets the pods start. Nothing to do."""
    WAITING_FOR_QUOTA = "WaitingForQuota"
    """The queue has not admitted the job; the message quotes it. Wait, raise the queue's quota, or give the job a
    higher priority."""
    WAITING_FOR_GANG = "WaitingForGang"
    """There is no place for all pods at once, so none is placed; the message quotes the scheduler. Wait, add nodes, or
    ask for less."""
    SCHEDULER_NOT_ENABLED = "SchedulerNotEnabled"
    """The operator may not use the scheduler that spec.scheduling.gang names. Add it to the Helm value gangSchedulers;
    the job then continues."""
    SCHEDULER_NOT_INSTALLED = "SchedulerNotInstalled"
    """The API of the scheduler that spec.scheduling.gang names is missing, and no pod is created. Install it; the job
    then continues. Or choose another one."""
    SCHEDULER_SILENT = "SchedulerSilent"
    """No scheduler has reported anything about the pods for a minute. Fix spec.scheduling.schedulerName, or find out
    why the scheduler does not run."""
    QUEUE_NOT_FOUND = "QueueNotFound"
    """spec.scheduling.queueName names a queue that does not exist. Create it; the job then continues."""
    QUEUE_NOT_IN_CHARGE = "QueueNotInCharge"
    """Kueue is installed but does not manage pods of this namespace. Let managedJobsNamespaceSelector of Kueue's
    configuration select it and its integrations name pod; then delete the pods."""
    ADMISSION_DEADLINE_EXCEEDED = "AdmissionDeadlineExceeded"
    """The gang was not admitted in startupPolicy.admissionSeconds; the message quotes the queue. Raise the quota or the
    bound, in a new job."""

    # -- pods
    PODS_CREATED = "PodsCreated"
    """The pods exist and are starting. Wait."""
    PODS_PENDING = "PodsPending"
    """The scheduler has not placed every pod; the message quotes it. Add nodes or ask for less."""
    CLAIM_NOT_FOUND = "ClaimNotFound"
    """spec.storage names a PersistentVolumeClaim that does not exist. Create it; the job then continues."""
    IMAGE_PULL_FAILED = "ImagePullFailed"
    """The image cannot be pulled. Fix spec.image or the pull secret, in a new job."""
    POD_REJECTED = "PodRejected"
    """The API server refused a pod; the message quotes it. Fix spec.podTemplate, the quota or the admission policy."""
    NAME_TAKEN = "NameTaken"
    """An object with a name that the job needs exists and is not the job's. Delete it, or give the job another name."""
    CONTAINER_NOT_STARTING = "ContainerNotStarting"
    """The container cannot be created; the message quotes the kubelet. Fix what it names."""
    NODE_NOT_READY = "NodeNotReady"
    """The node of a pod does not answer, so its processes may still write: the pod is not replaced before Kubernetes
    has removed it. Wait; or delete the Node, or give it the taint node.kubernetes.io/out-of-service, once the machine
    is off."""
    ALL_PODS_READY = "AllPodsReady"
    """Every pod is up. Nothing to do."""

    # -- progress
    WAITING_FOR_FIRST_STEP = "WaitingForFirstStep"
    """Pods are up; the processes are loading or compiling. Wait."""
    COMPILING = "Compiling"
    """Pods are up; their processes compile what the run needs, or wait for another run that compiles the same. Wait:
    later starts take it from the cache. spec.compilePolicy bounds it."""
    STEPS_ADVANCING = "StepsAdvancing"
    """Optimizer steps are being finished. Nothing to do."""
    COMPLETED = "Completed"
    """Training has ended as configured. Nothing to do."""
    NOT_STARTED = "NotStarted"
    """No pods have been created. See the other conditions."""
    RUNNING = "Running"
    """The job runs: it is not being restarted, suspended or finished. Nothing to do."""

    # -- suspension
    WAITING_FOR_CHECKPOINT = "WaitingForCheckpoint"
    """spec.suspend is set and the next checkpoint is near: the pods continue to it. Wait, or set
    suspendPolicy.checkpointWaitSeconds to 0."""
    SUSPENDING = "Suspending"
    """spec.suspend is set: the pods finish their step, save and end. Wait."""
    SUSPENDED = "Suspended"
    """spec.suspend is set and no pod runs; also the cause of the new attempt after it, which no budget counts. Set
    spec.suspend to false to resume."""

    # -- changes of the number of nodes (spec.elasticPolicy), as causes of new attempts, which no budget counts
    SCALED_DOWN = "ScaledDown"
    """The job went on with fewer nodes: a pod had no node for elasticPolicy.shrinkAfterSeconds, or the spec asks for
    fewer. Nothing to do; it grows when nodes are there, up to what the spec asks for."""
    SCALED_UP = "ScaledUp"
    """The job went on with more nodes, as the spec asks for. Nothing to do."""

    # -- nodes that new pods avoid (status.excludedNodes); HardwareFault, too
    REPEATED_FAILURES = "RepeatedFailures"
    """Failures were blamed on one node nodePolicy.repeatFailures times: new pods avoid it for a while. Check the node;
    if it is healthy, set nodePolicy.repeatFailures to 0."""

    STRAGGLER = "Straggler"
    """A process is slower than those with the same work, and all others wait for it in each step (status.stragglers).
    Look at its node: clocks, temperature, other programs, storage; nodePolicy.avoidStragglers keeps new pods off it."""

    # -- causes of restarts, and of the end
    PROCESS_FAILED = "ProcessFailed"
    """A process ended with an error; all processes were restarted in their pods. See the ledger's message."""
    PROCESS_KILLED = "ProcessKilled"
    """A process was ended by a signal (kill, out of memory); all were restarted in their pods. See the ledger's
    message, and raise the memory limit in spec.podTemplate if it was that."""
    POD_DELETED = "PodDeleted"
    """A pod was deleted; it was replaced, and that is never counted. Nothing to do."""
    POD_EVICTED = "PodEvicted"
    """A pod was evicted or preempted (DisruptionTarget); it was replaced, and that is never counted. Nothing to do."""
    NODE_LOST = "NodeLost"
    """The node of a pod is gone; the pod was replaced, and that is never counted. Nothing to do."""
    POD_PREEMPTED = "PodPreempted"
    """The launcher ended on SIGTERM after saving (exit code 143); the pod was replaced, and that is never counted.
    Nothing to do."""
    OUT_OF_MEMORY = "OutOfMemory"
    """The container was killed for memory. Raise its limit in spec.podTemplate, or lower data.micro_batch_size."""
    HANG = "Hang"
    """The processes ran and reported nothing new for longer than spec.hangPolicy allows; none of them is blamed. All
    pods are replaced, at most hangPolicy.maxRestarts times. If it happens again at the same step, check the data of
    that step; if a save or a compilation takes that long, raise its bound."""
    POD_FAILED = "PodFailed"
    """A launcher gave up: restarts inside the pod did not help. All pods are replaced, if the budget allows. See the
    ledger's message and `kubectl neuron logs --first-failure`."""
    HARDWARE_FAULT = "HardwareFault"
    """By the failure table, this failure or what the node reports is a hardware fault. The pod is replaced and its node
    excluded (status.excludedNodes); not counted as long as the node can be excluded. See status.excludedNodes, and have
    the node repaired or replaced."""
    COLLECTIVE_HANG = "CollectiveHang"
    """A collective did not end. The process that reports it waits for another one, so neither it nor its node is
    blamed. If it happens again at the same step, check the data of that step and the logs of the other pods."""
    NODE_MAINTENANCE = "NodeMaintenance"
    """The node is being taken away (spot interruption, consolidation, maintenance), and the pod failed with it; it was
    replaced, and that is never counted. Nothing to do."""
    NEURON_SOFTWARE_MISMATCH = "NeuronSoftwareMismatch"
    """The Neuron runtime rejects what the compiler produced: the image, or the node's driver, is of another Neuron
    SDK release. Start a new job with both from one release."""
    INCOMPLETE_COMPLETION = "IncompleteCompletion"
    """Some pods had ended when another was lost; the gang is restarted so that all end together. Nothing to do."""
    BUDGET_EXHAUSTED = "BudgetExhausted"
    """A budget of restartPolicy is used up; the message names it and the last failure. Fix that, then start a new
    job."""
    SAME_STEP_CRASH = "SameStepCrash"
    """The job failed three times at the same step, without a sign of a hardware fault: another start would not help.
    The message names the step and the first process that failed; fix the code or the data of that step, then start a
    new job."""
    TRAINER_REFUSED_CONFIG = "TrainerRefusedConfig"
    """The trainer ended with exit code 2: the data, the model or a checkpoint is not as configured. Fix what the
    message names."""
    COMPILATION_FAILED = "CompilationFailed"
    """The compiler refused a part of the model (exit code 4), and would again: nothing is retried. The message has its
    own words. Change what it names, set model.compile to eager, or use an image of another SDK release; in a new
    job."""
    COMPILE_DEADLINE_EXCEEDED = "CompileDeadlineExceeded"
    """The compile phase took longer than compilePolicy.timeoutSeconds. What was compiled is in the cache: a new job
    with the same configuration continues from there. Raise the bound, or leave it out."""
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    """spec.activeDeadlineSeconds is over; the pods save and end. Start a new job with more time that resumes from the
    last checkpoint (exp_manager.resume_from_checkpoint)."""
    SCHEDULING_DEADLINE_EXCEEDED = "SchedulingDeadlineExceeded"
    """A pod had no node for startupPolicy.schedulingSeconds; the message quotes the scheduler. Add nodes, ask for less,
    or raise the bound, in a new job."""
    IMAGE_DEADLINE_EXCEEDED = "ImageDeadlineExceeded"
    """A container did not run startupPolicy.imageSeconds after its pod had a node; the message quotes the kubelet. Fix
    the image or the volumes it names, or raise the bound, in a new job."""
    FIRST_STEP_DEADLINE_EXCEEDED = "FirstStepDeadlineExceeded"
    """No step was finished startupPolicy.firstStepSeconds after the containers ran. The pods' logs say what they were
    doing; raise the bound in a new job if that was loading or compiling."""
    NO_CHECKPOINT_FOUND = "NoCheckpointFound"
    """Steps were finished and no complete checkpoint is found: the job would restart at step 0, so it waits without
    pods. Restore a checkpoint, then set spec.suspend to true and back to false; or set restartPolicy.fromScratch to
    Always to restart at step 0."""
    CANNOT_RESUME = "CannotResume"
    """The job has finished steps and cannot resume (exp_manager.resume_if_exists is False). Set it to True in a new
    job."""


# ---- who responds, and which alerts fire ----------------------------------------------------------------------------


class Owner(StrEnum):
    """Who responds first; also the label `owner` of each alert."""

    USER = "user"
    """Whoever created the job: its configuration, data, image and code."""
    PLATFORM = "platform"
    """Whoever runs the operator, the nodes, the queues and the storage."""
    NOBODY = "nobody"
    """No action is needed."""


class Alert(StrEnum):
    """Alerts about jobs, by the name that the chart gives them; each is a page of docs/runbooks."""

    JOB_FAILED = "NeuronTrainingJobFailed"
    JOB_STALLED = "NeuronTrainingJobStalled"
    JOB_PENDING = "NeuronTrainingJobPending"
    JOB_QUEUED = "NeuronTrainingJobQueued"
    NO_STEP = "NeuronTrainingNoStep"
    CHECKPOINT_OLD = "NeuronTrainingCheckpointOld"
    RESTART_BUDGET_LOW = "NeuronTrainingRestartBudgetLow"
    RESTARTS_OFTEN = "NeuronTrainingRestartsOften"
    STRAGGLER = "NeuronTrainingStraggler"


@dataclass(frozen=True, slots=True)
class Response:
    """The response to one reason."""

    owner: Owner
    alerts: tuple[Alert, ...] = ()
    """Alerts that fire if a job stays in this state, or is restarted repeatedly for this cause."""


_USER, _PLATFORM, _NOBODY = Owner.USER, Owner.PLATFORM, Owner.NOBODY
_RESTARTED: Final = (Alert.RESTARTS_OFTEN,)
_COUNTED: Final = (Alert.RESTARTS_OFTEN, Alert.RESTART_BUDGET_LOW)

RESPONSES: Final[Mapping[Reason, Response]] = {
    Reason.CONFIG_ACCEPTED: Response(_NOBODY),
    Reason.CONFIG_ACCEPTED_WITH_WARNINGS: Response(_USER),
    Reason.CONFIG_INVALID: Response(_USER, (Alert.JOB_STALLED,)),
    Reason.CONFIG_MAP_NOT_FOUND: Response(_USER, (Alert.JOB_STALLED,)),
    Reason.STORAGE_MISSING: Response(_USER, (Alert.JOB_STALLED,)),
    Reason.STATUS_REFUSED: Response(_PLATFORM, (Alert.JOB_STALLED,)),
    Reason.NOT_QUEUED: Response(_NOBODY),
    Reason.ADMITTED: Response(_NOBODY),
    Reason.WAITING_FOR_QUOTA: Response(_USER, (Alert.JOB_QUEUED,)),
    Reason.WAITING_FOR_GANG: Response(_USER, (Alert.JOB_QUEUED,)),
    Reason.SCHEDULER_NOT_ENABLED: Response(_PLATFORM, (Alert.JOB_STALLED,)),
    Reason.SCHEDULER_NOT_INSTALLED: Response(_PLATFORM, (Alert.JOB_STALLED,)),
    Reason.SCHEDULER_SILENT: Response(_PLATFORM, (Alert.JOB_STALLED,)),
    Reason.QUEUE_NOT_FOUND: Response(_PLATFORM, (Alert.JOB_STALLED,)),
    Reason.QUEUE_NOT_IN_CHARGE: Response(_PLATFORM, (Alert.JOB_STALLED,)),
    Reason.ADMISSION_DEADLINE_EXCEEDED: Response(_USER, (Alert.JOB_FAILED,)),
    Reason.PODS_CREATED: Response(_PLATFORM, (Alert.JOB_PENDING,)),
    Reason.PODS_PENDING: Response(_PLATFORM, (Alert.JOB_PENDING,)),
    Reason.CLAIM_NOT_FOUND: Response(_USER, (Alert.JOB_STALLED,)),
    Reason.IMAGE_PULL_FAILED: Response(_USER, (Alert.JOB_STALLED,)),
    Reason.POD_REJECTED: Response(_USER, (Alert.JOB_STALLED,)),
    Reason.NAME_TAKEN: Response(_USER, (Alert.JOB_PENDING,)),
    Reason.CONTAINER_NOT_STARTING: Response(_USER, (Alert.JOB_STALLED,)),
    Reason.NODE_NOT_READY: Response(_PLATFORM, (Alert.JOB_PENDING, Alert.JOB_STALLED, Alert.NO_STEP)),
    Reason.ALL_PODS_READY: Response(_NOBODY),
    Reason.WAITING_FOR_FIRST_STEP: Response(_USER, (Alert.JOB_PENDING,)),
    Reason.COMPILING: Response(_NOBODY),
    Reason.STEPS_ADVANCING: Response(_NOBODY),
    Reason.COMPLETED: Response(_NOBODY),
    Reason.NOT_STARTED: Response(_PLATFORM, (Alert.JOB_PENDING,)),
    Reason.RUNNING: Response(_NOBODY),
    Reason.WAITING_FOR_CHECKPOINT: Response(_NOBODY),
    Reason.SUSPENDING: Response(_NOBODY),
    Reason.SUSPENDED: Response(_USER, _RESTARTED),
    Reason.SCALED_DOWN: Response(_PLATFORM, _RESTARTED),
    Reason.SCALED_UP: Response(_NOBODY, _RESTARTED),
    Reason.REPEATED_FAILURES: Response(_PLATFORM, _RESTARTED),
    Reason.STRAGGLER: Response(_PLATFORM, (Alert.STRAGGLER,)),
    Reason.PROCESS_FAILED: Response(_USER, _RESTARTED),
    Reason.PROCESS_KILLED: Response(_USER, _COUNTED),
    Reason.POD_DELETED: Response(_NOBODY, _RESTARTED),
    Reason.POD_EVICTED: Response(_NOBODY, _RESTARTED),
    Reason.NODE_LOST: Response(_PLATFORM, _RESTARTED),
    Reason.POD_PREEMPTED: Response(_NOBODY, _RESTARTED),
    Reason.OUT_OF_MEMORY: Response(_USER, _COUNTED),
    Reason.HANG: Response(_USER, (*_COUNTED, Alert.NO_STEP)),
    Reason.POD_FAILED: Response(_USER, _COUNTED),
    Reason.HARDWARE_FAULT: Response(_PLATFORM, _RESTARTED),
    Reason.COLLECTIVE_HANG: Response(_USER, (*_COUNTED, Alert.NO_STEP)),
    Reason.NODE_MAINTENANCE: Response(_NOBODY, _RESTARTED),
    Reason.NEURON_SOFTWARE_MISMATCH: Response(_USER, (Alert.JOB_FAILED,)),
    Reason.INCOMPLETE_COMPLETION: Response(_NOBODY, _RESTARTED),
    Reason.BUDGET_EXHAUSTED: Response(_USER, (Alert.JOB_FAILED,)),
    Reason.SAME_STEP_CRASH: Response(_USER, (Alert.JOB_FAILED,)),
    Reason.TRAINER_REFUSED_CONFIG: Response(_USER, (Alert.JOB_FAILED,)),
    Reason.COMPILATION_FAILED: Response(_USER, (Alert.JOB_FAILED,)),
    Reason.COMPILE_DEADLINE_EXCEEDED: Response(_USER, (Alert.JOB_FAILED,)),
    Reason.DEADLINE_EXCEEDED: Response(_USER, (Alert.JOB_FAILED,)),
    Reason.SCHEDULING_DEADLINE_EXCEEDED: Response(_PLATFORM, (Alert.JOB_FAILED,)),
    Reason.IMAGE_DEADLINE_EXCEEDED: Response(_PLATFORM, (Alert.JOB_FAILED,)),
    Reason.FIRST_STEP_DEADLINE_EXCEEDED: Response(_USER, (Alert.JOB_FAILED,)),
    Reason.NO_CHECKPOINT_FOUND: Response(_USER, (Alert.JOB_STALLED, Alert.RESTARTS_OFTEN)),
    Reason.CANNOT_RESUME: Response(_USER, (Alert.JOB_FAILED,)),
}
