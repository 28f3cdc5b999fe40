"""The contract between operator and trainer: every name that crosses a process or an API boundary, once.

Labels, environment variables, mount paths, ports and exit codes. There is no logic here: change a value and both sides
change with it. Reasons of conditions are in `resource.reasons`.
"""

from enum import IntEnum
from typing import Final

GROUP: Final = "neurontraining.dev"
"""API group of the custom resource."""

VERSION: Final = "v1alpha1"
KIND: Final = "NeuronTrainingJob"
PLURAL: Final = "neurontrainingjobs"
SINGULAR: Final = "neurontrainingjob"
SHORT_NAME: Final = "ntj"
API_VERSION: Final = f"{GROUP}/{VERSION}"

# ---- labels and annotations on children -------------------------------------------------------------------------

LABEL_JOB: Final = f"{GROUP}/job"
"""Name of the NeuronTrainingJob. The operator watches only objects that carry it."""

LABEL_JOB_UID: Final = f"{GROUP}/job-uid"
"""UID of the job, which distinguishes children of a deleted and recreated job of the same name."""

LABEL_ATTEMPT: Final = f"{GROUP}/attempt"
"""Number of the gang attempt that a pod belongs to; pods of older attempts are deleted whenever seen."""

LABEL_NODE_RANK: Final = f"{GROUP}/node-rank"
"""Index of the pod in the gang, 0..num_nodes-1; pod 0 hosts the rendezvous and serves the progress."""

LABEL_NODES: Final = f"{GROUP}/nodes"
"""Number of pods of the attempt, on pods of a job with spec.elasticPolicy: its status may be lost."""

LABEL_STANDBY: Final = f"{GROUP}/standby"
"""On a pod that only holds a node for a growth of its job (spec.elasticPolicy)."""

LABEL_EXPERIMENT: Final = "name"
"""The config's `name` on every pod."""

ANNOTATION_BOOST_TIME: Final = f"{GROUP}/priority-boost-time"
"""On the object of a gang: when the operator last changed its priority boost."""
ANNOTATION_EXCLUDED: Final = f"{GROUP}/excluded-nodes"
"""Host names of the nodes that a pod was created to avoid, with commas between them."""

LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
FIELD_MANAGER: Final = "neuron-operator"

# ---- environment of the trainer's container ---------------------------------------------------------------------

ENV_JOB_NAME: Final = "NTJ_JOB_NAME"
ENV_JOB_UID: Final = "NTJ_JOB_UID"
"""Written into each checkpoint's manifest; a checkpoint with this UID is the job's own."""

ENV_POD_UID: Final = "NTJ_POD_UID"
"""UID of the pod, by the downward API; `podUid` of the progress report."""

ENV_ATTEMPT: Final = "NTJ_ATTEMPT"
ENV_NODE_RANK: Final = "NTJ_NODE_RANK"
ENV_NUM_NODES: Final = "NTJ_NUM_NODES"
ENV_PROCESSES_PER_NODE: Final = "NTJ_PROCESSES_PER_NODE"
"""Processes per pod as the operator derived them (A1: `trainer.devices` may be meant as a total)."""

ENV_RENDEZVOUS_ENDPOINT: Final = "NTJ_RENDEZVOUS_ENDPOINT"
"""`host:port` of the rendezvous store on pod 0."""

ENV_COMPILE_MODE: Final = "NTJ_COMPILE_MODE"
"""`spec.compilePolicy.mode`."""

ENV_MEMORY_EVERY_STEPS: Final = "NTJ_MEMORY_EVERY_STEPS"
"""`spec.memoryCheckpoints.everySteps`; absent where no copies are made."""

ENV_MEMORY_REPLICAS: Final = "NTJ_MEMORY_REPLICAS"
"""`spec.memoryCheckpoints.replicas`."""

ENV_MAX_PROCESS_RESTARTS: Final = "NTJ_MAX_PROCESS_RESTARTS"
ENV_REJOIN_TIMEOUT: Final = "NTJ_REJOIN_TIMEOUT_SECONDS"
"""How long a pod waits in rendezvous for a lost peer to come back before it gives up with exit code 1."""

ENV_SEEN_STEP: Final = "NTJ_SEEN_STEP"
"""Maximum number of finished steps that the operator has seen: a later start needs a checkpoint."""

ENV_SEEN_CHECKPOINT: Final = "NTJ_SEEN_CHECKPOINT"
"""Step of the newest complete checkpoint that was reported to the operator; absent if none was."""

ENV_FROM_SCRATCH: Final = "NTJ_FROM_SCRATCH"
"""`spec.restartPolicy.fromScratch`."""

ENV_PROGRESS_PORT: Final = "NTJ_PROGRESS_PORT"
ENV_ACCELERATOR: Final = "NTJ_ACCELERATOR"
"""PyTorch's name of the device: `neuron`, `xla`, `cpu` or `cuda`."""

ENV_PEAK_FLOPS: Final = "NTJ_PEAK_FLOPS"
"""Dense FLOP/s of one process's device at the run's precision, for `mfu`; absent where it is not known (cpu)."""

ENV_EXPERIMENT_VERSION: Final = "NEMO_EXPM_VERSION"
"""The same for every pod and every attempt of a job (upstream on EKS: the pod's UID)."""

ENV_DATA_MODULE: Final = "NEURON_TRAIN_DATA_MODULE"
"""The same as `data.data_module` and `neuron-train run --data-module`; the command line wins."""

ENV_REFUSE_FALLBACKS: Final = "NEURON_TRAIN_REFUSE_CPU_FALLBACKS"
"""1: a run ends with exit code 2 where an operator of its first step ran on the CPU in place of the device. A variable
and no key: it is about the image and the device, and changes nothing of a configuration that also runs elsewhere."""

ENV_TRACKER_WAIT: Final = "NEURON_TRAIN_TRACKER_WAIT"
"""Seconds for which the end of a run waits for a tracker that takes nothing; default 20."""

ENV_MEMORY_BANDWIDTH: Final = "NEURON_TRAIN_MEMORY_BANDWIDTH"
"""Megabytes a second of copies that a process sends to another node at most (`spec.memoryCheckpoints.replicas`);
default 1000."""

MAX_NODES: Final = 4096
"""Pods of a job: its status holds a record of each, about 100 bytes of the 1.5 MB that etcd takes."""

MAX_SPIKES: Final = 8
"""Unusual steps that are remembered."""

MAX_STRAGGLERS: Final = 32
"""Slow processes that are named at once."""

# ---- in the pod ---------------------------------------------------------------------------------------------------

CONTAINER: Final = "trainer"
CONFIG_DIR: Final = "/etc/neuron-training"
CONFIG_FILE: Final = "config.yaml"
TERMINATION_LOG: Final = "/dev/termination-log"
TERMINATION_MESSAGE_LIMIT: Final = 4096
"""Bytes that the kubelet keeps of a termination message."""

RENDEZVOUS_PORT: Final = 41000
"""`MASTER_PORT` of NxDT's train_setup.sh; a pod's own network namespace, so it cannot collide."""

PROGRESS_PORT: Final = 41001
PROGRESS_PATH: Final = "/progress"
METRICS_PATH: Final = "/metrics"
HISTORY_PATH: Final = "/history"
"""The curves of the whole run (`neuron_api.resource.overview.Curves`), read from its log directory."""
HEALTH_PATH: Final = "/healthz"
"""All four on PROGRESS_PORT, served by the launcher across worker restarts."""


class ExitCode(IntEnum):
    """How a launcher ends, read by the operator from the container's status."""

    SUCCESS = 0
    """Training has ended; a final checkpoint is complete."""
    ERROR = 1
    """The processes failed and the restart budget inside the pod is used up, or peers did not come back."""
    CONFIG = 2
    """The configuration or its inputs are wrong: starting again cannot help, the operator does not retry."""
    NO_CHECKPOINT = 3
    """Steps were finished and no complete checkpoint is found: the job does not start again at step 0."""
    COMPILATION = 4
    """The compiler refused a part of the model: starting again cannot help, the operator does not retry."""
    PREEMPTED = 143
    """SIGTERM: the step was finished and saved; never counted against a budget."""


# ---- checkpoints --------------------------------------------------------------------------------------------------

CHECKPOINT_SUFFIX: Final = ".ckpt"
CHECKPOINT_MARKER: Final = "done"
"""Written last, after fsync of every shard; a directory without it does not exist for any reader."""

CHECKPOINT_MANIFEST: Final = "manifest.json"
CHECKPOINTS_DIR: Final = "checkpoints"
METRICS_FILE: Final = "metrics.jsonl"
