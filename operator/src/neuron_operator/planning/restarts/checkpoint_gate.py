"""The checkpoint gate: a job that has finished steps is not begun again at step 0, unless its spec says so (B-11).

    a launcher ends with exit code 3   it has looked: steps were finished, no complete checkpoint is there
    held                               a line of the ledger, no pods, Stalled, until somebody helps
    restartPolicy.fromScratch allows   a new attempt, at step 0
    spec.suspend set and taken back    a new attempt, that looks again (a checkpoint was restored)

Only a launcher can look: what pods save when they are told to go is seldom heard of by the operator.
"""

from datetime import datetime
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.resource.reasons import Reason
from neuron_api.resource.spec import FromScratch, RestartPolicy
from neuron_api.resource.status import CheckpointGateStatus, JobStatus, Restart
from neuron_operator.planning.observation.waiting import Wait

from . import ledger

_LIMIT: Final = 3000
"""Characters of what a launcher says; the kubelet keeps 4096 bytes."""
_REMEDY: Final = (
    "Restore a checkpoint and set spec.suspend to true and to false again, or set restartPolicy.fromScratch to Always "
    "to begin again at step 0."
)


def seen_step(status: JobStatus) -> int:
    """Most steps that were ever known to be finished."""
    progress, saved = status.progress, status.checkpoint
    return max(progress.furthest_step if progress else 0, progress.step if progress else 0, saved.step if saved else 0)


def can_resume(status: JobStatus, config: TrainingConfig, policy: RestartPolicy) -> bool:
    """Return whether a new start may continue what has been done, or may begin again (B-11), or nothing has been done
    yet."""
    allowed = policy.from_scratch is FromScratch.ALWAYS
    return config.exp_manager.resume_if_exists or allowed or not seen_step(status)


def begin(status: JobStatus, entry: Restart, text: str, now: datetime) -> JobStatus:
    """Return the status of a job that waits; `entry` records it in the ledger."""
    message = f"{text[:_LIMIT].rstrip()} {_REMEDY}"
    gate = CheckpointGateStatus(reason=Reason.NO_CHECKPOINT_FOUND, message=message, time=now)
    return ledger.append(status, entry).model_copy(update={"checkpoint_gate": gate})


def released(status: JobStatus, policy: RestartPolicy) -> JobStatus | None:
    """Return the new attempt that the spec allows; None: the job waits."""
    if status.checkpoint_gate and not isinstance(status.checkpoint_gate.reason, Reason):
        return None  # Another release holds the job, for a reason that is not known here.
    if not policy.from_scratch.allows(finished_steps=seen_step(status), has_checkpoint=status.checkpoint is not None):
        return None
    return status.model_copy(update={"checkpoint_gate": None, "attempt": status.attempt + 1, "pods": ()})


def wait(status: JobStatus) -> Wait | None:
    """Return what the conditions say about it."""
    return (
        Wait(status.checkpoint_gate.reason, status.checkpoint_gate.message, stalled=True)
        if status.checkpoint_gate
        else None
    )
