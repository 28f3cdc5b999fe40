"""`kubectl neuron checkpoints`: what a restart would take up, and what earlier ones took up.

From the status; pod 0 is asked as well, which may know of a checkpoint some seconds before the status does.
"""

from datetime import datetime

from pydantic import ValidationError

from neuron_api.resource import progress
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.overview import CheckpointView
from neuron_api.resource.progress import CheckpointReport
from neuron_api.resource.status import CheckpointStatus
from neuron_operator.kube.errors import UserInputError
from neuron_operator.planning.status.pace import format_age

from .connection import Connection

Newest = CheckpointReport | CheckpointStatus | None


def live(connection: Connection, job: NeuronTrainingJob) -> CheckpointReport | None:
    """Return what pod 0 reports; None where it is missing, does not answer, or may not be asked."""
    host = next(iter(job.status.pods), None)
    if host is None or job.status.finished:
        return None
    try:
        answer = connection.progress(host.name)
        report = progress.from_json(answer) if answer else None
    except (UserInputError, ValidationError):
        return None
    return report.checkpoint if report and report.job_uid in ("", job.metadata.uid) else None


def newest(job: NeuronTrainingJob, reported: CheckpointReport | None) -> Newest:
    """The later of the two."""
    stored = job.status.checkpoint
    return reported if reported and (stored is None or reported.step >= stored.step) else stored


def text(job: NeuronTrainingJob, checkpoint: Newest, now: datetime) -> str:
    """A table, newest first, and what a failure would cost now."""
    rows = [("STEP", "AGE", "VERIFIED", "USED BY", "PATH")]
    if checkpoint is not None:
        age, read_back = format_age(checkpoint.time, now), "yes" if checkpoint.verified else "-"
        rows.append((str(checkpoint.step), age, read_back, _resumes(job, checkpoint.step), checkpoint.path))
    resumed = {entry.resumed_from_step for entry in job.status.restarts} - {
        None,
        checkpoint.step if checkpoint else None,
    }
    rows += [(str(step), "-", "yes", _resumes(job, step), "-") for step in sorted(filter(None, resumed), reverse=True)]
    last = len(rows[0]) - 1
    widths = [max(len(row[column]) for row in rows) for column in range(last)]
    table = [
        "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[last])) for row in rows
    ]
    return "\n".join((*(table if len(rows) > 1 else ()), cost(job, checkpoint))) + "\n"


def rows(job: NeuronTrainingJob, checkpoint: Newest) -> list[CheckpointView]:
    """Return the same for programs: the newest checkpoint, and those that restarts resumed from."""
    users: dict[int, tuple[int, ...]] = {}
    for number, entry in enumerate(job.status.restarts, 1):
        if entry.resumed_from_step:
            users[entry.resumed_from_step] = (*users.get(entry.resumed_from_step, ()), number)
    newest = (
        [
            CheckpointView(
                step=checkpoint.step,
                path=checkpoint.path,
                time=checkpoint.time,
                is_verified=checkpoint.verified,
                used_by=users.pop(checkpoint.step, ()),
            )
        ]
        if checkpoint
        else []
    )
    earlier = (CheckpointView(step=step, is_verified=True, used_by=users[step]) for step in sorted(users, reverse=True))
    return [*newest, *earlier]


def _resumes(job: NeuronTrainingJob, step: int) -> str:
    """Numbers of the ledger's lines, as `logs --restart` takes them."""
    numbers = [str(n) for n, entry in enumerate(job.status.restarts, 1) if entry.resumed_from_step == step]
    return f"restart {', '.join(numbers)}" if numbers else "-"


def cost(job: NeuronTrainingJob, checkpoint: Newest) -> str:
    """Return what a failure now would cost, in a sentence."""
    name, done = job.metadata.name, job.status.progress.step if job.status.progress else 0
    if job.status.finished:
        return f"{name} is over ({job.status.phase})."
    if not done and checkpoint is None:
        return f"{name} has no complete checkpoint and no finished step yet."
    if checkpoint is None:
        return f"{name} has no complete checkpoint yet; a failure now would cost all {done} steps."
    return f"A failure now would cost {max(0, done - checkpoint.step)} of {name}'s {done} steps."
