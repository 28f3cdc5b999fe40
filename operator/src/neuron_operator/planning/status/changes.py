"""Changes of a status: which are worth a Kubernetes Event, and which are numbers that can wait to be written.

There is one event for each transition, none for numbers; and those are written less often than they change. A gang that
comes up is a number too, and so are the conditions that tell of it: which pods are made and up already can wait for a
while, and so can that pod 0 answers, as long as it has no step to tell of. That something is in its way is another
phase, and that it trains as well.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import Condition, ConditionStatus, JobStatus, Phase, ProgressStatus, Restart

from . import spikes, stragglers
from .conditions import resumed_from, sentence

_NUMBERS = (
    "step",
    "furthest_step",
    "loss",
    "tokens_per_second",
    "mfu",
    "metrics",
    "reference_time",
    "last_step_time",
    "seconds_per_step",
    "measured_steps",
    "total_step_seconds",
    "total_measured_steps",
    "estimated_completion_time",
    "time_remaining",
)
_SCALED = (Reason.SCALED_DOWN, Reason.SCALED_UP)
_PLANNED: Mapping[str, str] = {
    Reason.SUSPENDED: "the job was resumed",
    **dict.fromkeys(_SCALED, "the number of nodes was changed"),
}
"""What recovered, where it was no failure."""
_BEFORE_STEPS = (Phase.STARTING, Phase.COMPILING)
_OF_A_START = (
    ConditionType.READY,
    ConditionType.RECONCILING,
    ConditionType.STALLED,
    ConditionType.PODS_READY,
    ConditionType.PROGRESSING,
)


def is_progress_only_change(before: JobStatus, after: JobStatus) -> bool:
    """True when nothing but step, loss, throughput and their time differ (or nothing at all)."""
    return _without(before) == _without(after)


def _without(status: JobStatus) -> dict[str, Any]:
    values = status.model_dump(exclude={"ready_nodes", "goodput", "time_spent"})
    if status.phase in _BEFORE_STEPS:
        values["conditions"] = [condition for condition in values["conditions"] if condition["type"] not in _OF_A_START]
    values["pods"] = [record for record in values["pods"] if record["lost"] or record["succeeded"]]
    if values["compilation"] is not None:
        values["compilation"] = {key: values["compilation"][key] for key in ("complete", "holder", "pod_uid")}
    if status.phase in _BEFORE_STEPS and _is_before_the_first_step(status.progress):
        values["progress"] = None
    elif values["progress"] is not None:
        values["progress"] = {key: value for key, value in values["progress"].items() if key not in _NUMBERS}
    return values


def _is_before_the_first_step(progress: ProgressStatus | None) -> bool:
    return progress is None or not (progress.furthest_step or progress.last_step_time or progress.round)


@dataclass(frozen=True, slots=True)
class Announcement:
    """An event without its technicalities."""

    kind: Literal["Normal", "Warning"]
    reason: str
    action: str
    note: str


def announcements(before: JobStatus, after: JobStatus) -> tuple[Announcement, ...]:
    """Return the events of a change, in the order in which a person wants to read them."""
    return (
        *_restarts(before, after),
        *_recoveries(before, after),
        *_resumes(before, after),
        *_admission(before, after),
        *_spikes(before, after),
        *_stragglers(before, after),
        *_exclusions(before, after),
        *_not_suspended(before, after),
        *_stalled(before, after),
        *_phase(before, after),
    )


def _restarts(before: JobStatus, after: JobStatus) -> Iterator[Announcement]:
    recorded = {_identity(entry) for entry in before.restarts}
    for entry in after.restarts:
        if _identity(entry) in recorded:
            continue
        if entry.cause is Reason.SUSPENDED:
            yield Announcement("Normal", "Resumed", "Resume", sentence(entry))
        elif entry.cause in _SCALED:
            yield Announcement("Normal", entry.cause, "Scale", sentence(entry))
        else:
            yield Announcement("Warning", entry.cause, "Restart", sentence(entry))


def _recoveries(before: JobStatus, after: JobStatus) -> Iterator[Announcement]:
    closed = {_identity(entry) for entry in before.restarts if entry.recovered_time}
    for entry in after.restarts:
        if entry.recovered_time and _identity(entry) not in closed:
            what = _PLANNED.get(entry.cause, f"the failure ({entry.cause})")
            note = (
                f"Training continued from {resumed_from(entry)}, {entry.steps_lost} steps were done again, "
                f"{entry.recovery_seconds:.0f} s after {what}."
            )
            yield Announcement("Normal", "Recovered", "Restart", note)
            if entry.skipped_checkpoints:
                older = f"Training resumed from an older checkpoint, of step {entry.resumed_from_step}"
                note = f"{older}: {entry.skipped_checkpoints}"
                yield Announcement("Warning", "CheckpointSkipped", "Restart", note)


def _resumes(before: JobStatus, after: JobStatus) -> Iterator[Announcement]:
    """Once for each set of keys that differ from the configuration of the checkpoint, not for each restart."""
    if len(after.resume) > 1 and after.resume[1:] != before.resume[1:]:
        yield Announcement("Normal", "ResumedWithChanges", "Resume", "\n".join(after.resume))


def _admission(before: JobStatus, after: JobStatus) -> Iterator[Announcement]:
    """A job goes into a queue, or comes out of it."""
    old, new = _condition(before, ConditionType.ADMITTED), _condition(after, ConditionType.ADMITTED)
    if new is None or (old is not None and old.reason is new.reason):
        return
    if new.reason in (Reason.WAITING_FOR_QUOTA, Reason.WAITING_FOR_GANG):
        yield Announcement("Normal", new.reason, "Queue", new.message)
    elif new.reason is Reason.ADMITTED:
        yield Announcement("Normal", new.reason, "Admit", new.message)


def _spikes(before: JobStatus, after: JobStatus) -> Iterator[Announcement]:
    for spike in spikes.new(before, after):
        yield Announcement("Warning", "UnusualStep", "Train", spikes.sentence(spike))


def _stragglers(before: JobStatus, after: JobStatus) -> Iterator[Announcement]:
    """Once for each node; again only after its processes were as fast as the others, or another one is slow."""
    for straggler in stragglers.new(before, after):
        yield Announcement("Warning", Reason.STRAGGLER, "Train", stragglers.sentence(straggler))


def _exclusions(before: JobStatus, after: JobStatus) -> Iterator[Announcement]:
    """Once when a node is excluded (or for longer), once when it may be used again."""
    old = {exclusion.node: exclusion for exclusion in before.excluded_nodes}
    new = {exclusion.node: exclusion for exclusion in after.excluded_nodes}
    for name, exclusion in new.items():
        if name not in old or old[name].exclusion_time != exclusion.exclusion_time:
            end = f"{exclusion.expiration_time:%Y-%m-%d %H:%M} UTC"
            note = f"New pods avoid node {name} until {end}. {exclusion.reason}: {exclusion.message}"
            yield Announcement("Warning", "NodeExcluded", "Exclude", note)
    for name, gone in old.items():
        if name not in new:
            yield Announcement(
                "Normal", "NodeReadmitted", "Exclude", f"New pods may use node {name} ({gone.reason}) again."
            )


def _stalled(before: JobStatus, after: JobStatus) -> Iterator[Announcement]:
    old, new = _condition(before, ConditionType.STALLED), _condition(after, ConditionType.STALLED)
    if new is None or new.status is not ConditionStatus.TRUE or after.finished:
        return
    if old is None or old.status is not ConditionStatus.TRUE or old.reason is not new.reason:
        yield Announcement("Warning", new.reason, "Wait", new.message)


def _not_suspended(before: JobStatus, after: JobStatus) -> Iterator[Announcement]:
    """spec.suspend is set, and cannot be followed."""
    old, new = _condition(before, ConditionType.SUSPENDED), _condition(after, ConditionType.SUSPENDED)
    refused = new is not None and new.reason is Reason.CANNOT_RESUME and not after.finished
    if new and refused and (old is None or old.reason is not new.reason):
        yield Announcement("Warning", new.reason, "Suspend", new.message)


def _phase(before: JobStatus, after: JobStatus) -> Iterator[Announcement]:
    if after.phase is before.phase:
        return
    ready = _condition(after, ConditionType.READY)
    message = ready.message if ready else ""
    match after.phase:
        case Phase.COMPILING:
            yield Announcement("Normal", Reason.COMPILING, "Compile", message)
        case Phase.STARTING if before.phase is not Phase.COMPILING:
            topology = after.topology
            shape = f": {topology.nodes} pods x {topology.processes_per_node} processes" if topology else ""
            yield Announcement("Normal", Reason.PODS_CREATED, "Create", f"Pods are created{shape}.")
        case Phase.RUNNING if not before.restarts and not after.restarts:
            yield Announcement("Normal", Reason.STEPS_ADVANCING, "Train", "The first step has been finished.")
        case Phase.SUSPENDING | Phase.SUSPENDED:
            yield Announcement("Normal", ready.reason if ready else after.phase, "Suspend", message)
        case Phase.SUCCEEDED:
            yield Announcement("Normal", Reason.COMPLETED, "Complete", message)
        case Phase.FAILED:
            yield Announcement("Warning", ready.reason if ready else "Failed", "Fail", message)


def _identity(entry: Restart) -> tuple[object, ...]:
    """Return what a line of the ledger keeps when it is corrected: its round may be another one at the next look, since
    pods are asked one after the other and a round may end in between (`failures.blame.by_round`)."""
    return entry.restart_scope, entry.attempt, entry.pod_uid, entry.time


def _condition(status: JobStatus, kind: ConditionType) -> Condition | None:
    return next((condition for condition in status.conditions if condition.type is kind), None)
