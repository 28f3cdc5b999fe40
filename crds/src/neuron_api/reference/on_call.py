"""Who responds to a reason, and which alerts of the chart it triggers: for the page of reasons and the runbooks."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from neuron_api.resource.reasons import Reason


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
    Reason.STEPS_ADVANCING: Response(_NOBODY),
    Reason.COMPLETED: Response(_NOBODY),
    Reason.NOT_STARTED: Response(_PLATFORM, (Alert.JOB_PENDING,)),
    Reason.RUNNING: Response(_NOBODY),
    Reason.WAITING_FOR_CHECKPOINT: Response(_NOBODY),
    Reason.SUSPENDING: Response(_NOBODY),
    Reason.SUSPENDED: Response(_USER, _RESTARTED),
    Reason.REPEATED_FAILURES: Response(_PLATFORM, _RESTARTED),
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
    Reason.DEADLINE_EXCEEDED: Response(_USER, (Alert.JOB_FAILED,)),
    Reason.SCHEDULING_DEADLINE_EXCEEDED: Response(_PLATFORM, (Alert.JOB_FAILED,)),
    Reason.IMAGE_DEADLINE_EXCEEDED: Response(_PLATFORM, (Alert.JOB_FAILED,)),
    Reason.FIRST_STEP_DEADLINE_EXCEEDED: Response(_USER, (Alert.JOB_FAILED,)),
    Reason.NO_CHECKPOINT_FOUND: Response(_USER, (Alert.JOB_STALLED, Alert.RESTARTS_OFTEN)),
    Reason.CANNOT_RESUME: Response(_USER, (Alert.JOB_FAILED,)),
}
