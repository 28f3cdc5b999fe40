"""The ledger of restarts in the job's status: what happened, what it cost. Each failure is recorded once.

A line is open until the first step after its failure. Rounds are the elastic agent's, counted on pod 0: a failure in
round n is over when a round after n, or a later pod 0, has finished a step.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from neuron_api.resource.progress import LINE_LENGTH, MAX_LOG_LINES, Progress, TrainerPhase
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import JobStatus, Restart, RestartScope
from neuron_operator.planning.failures import blame, signals
from neuron_operator.planning.failures.blame import Blame
from neuron_operator.planning.failures.failure_table import FailureTable
from neuron_operator.planning.observation.observation import Pod
from neuron_operator.planning.status import compilation

LIMIT: Final = 64
SCALED: Final = (Reason.SCALED_DOWN, Reason.SCALED_UP)
"""Causes of lines that tell of another number of nodes."""
PLANNED: Final = (Reason.SUSPENDED, *SCALED)
"""Causes of lines that tell of no failure."""
_MESSAGE_LIMIT: Final = 1024
_STEPPING: Final = (
    TrainerPhase.TRAINING,
    TrainerPhase.SAVING,
    TrainerPhase.VALIDATING,
    TrainerPhase.SUCCEEDED,
)


def append(status: JobStatus, *entries: Restart) -> JobStatus:
    """Add lines; the oldest fall off. A compile phase ends with the first of them."""
    for entry in entries:
        status = compilation.interrupt(status, entry.time)
    return status.model_copy(
        update={
            "restarts": (*status.restarts, *entries)[-LIMIT:],
            "restart_count": status.restart_count + len(entries),
        }
    )


def open_entries(status: JobStatus) -> tuple[Restart, ...]:
    """Failures after which no step has been finished yet."""
    return tuple(entry for entry in status.restarts if entry.recovered_time is None)


def last_open(status: JobStatus) -> Restart | None:
    """The failure that is being recovered from; to go on after a suspension is none."""
    return next((entry for entry in reversed(open_entries(status)) if entry.cause is not Reason.SUSPENDED), None)


def clip(message: str) -> str:
    """Cut a message to what a line of the ledger holds."""
    return message[:_MESSAGE_LIMIT]


def clip_lines(lines: Iterable[str]) -> tuple[str, ...]:
    """Cut lines to as many of the last ones, and as much of each, as a line of the ledger holds."""
    return tuple(line[:LINE_LENGTH] for line in lines)[-MAX_LOG_LINES:]


# ---- process failures -------------------------------------------------------------------------------------------


def needs_every_report(status: JobStatus, report: Progress, pod_uid: str) -> bool:
    """Return whether every pod must be asked, to tell the first failing process from its victims."""
    if report.round != seen_round(status, pod_uid) or any(f.round >= report.round for f in report.failures):
        return True
    if report.phase not in _STEPPING and (report.round or report.last_step_time):
        return True  # A round has ended; the pod that knows why may not have answered yet.
    return any(entry.restart_scope is RestartScope.PROCESS for entry in open_entries(status))


def seen_round(status: JobStatus, pod_uid: str) -> int:
    """The round that was seen last; a new pod 0 counts from 0."""
    progress = status.progress
    return progress.round if progress is not None and progress.pod_uid == pod_uid else 0


def record_process_failures(
    status: JobStatus, reports: Mapping[int, Progress], pods: Mapping[int, Pod], table: FailureTable, now: datetime
) -> JobStatus:
    """Add the process failures since the last look, one line for each round that ended with one.

    The round before the one that was seen last is looked at again: a pod may have answered too late, or in the moment
    between two rounds.
    """
    report, host = reports.get(0), pods.get(0)
    if report is None or host is None:
        return status
    oldest = max(seen_round(status, host.uid) - 1, report.round - LIMIT)
    for number, suspects in blame.by_round(reports, table).items():
        if number >= oldest:
            code = signals.neuron_code(table, signals.process_text(suspects[0].failure))
            line = _entry(status, suspects[0], pods, number, code)
            processes = frozenset((pods[suspect.index].uid, suspect.failure.time) for suspect in suspects)
            status = _record(status, _FailedRound(line, suspects[0], processes, report.start_time), now)
    return status


@dataclass(frozen=True, slots=True)
class _FailedRound:
    """A round that ended with a failure, as the launchers report it now."""

    line: Restart
    """The line of the ledger that it calls for: its first failing process."""
    suspect: Blame
    """That process."""
    processes: frozenset[tuple[str, datetime]]
    """Pod UID and time of failure of every process that failed."""
    host_start_time: datetime | None
    """When pod 0 started to count rounds."""

    def names(self, entry: Restart) -> bool:
        """Return whether a line is about one of these processes."""
        return entry.restart_scope is RestartScope.PROCESS and (entry.pod_uid, entry.time) in self.processes

    def covers(self, entry: Restart) -> bool:
        """Return whether a line is about this round, whichever scope it has."""
        is_same_round = entry.attempt == self.line.attempt and entry.round == self.line.round
        return is_same_round and (self.host_start_time is None or entry.time >= self.host_start_time)


def _record(status: JobStatus, failed: _FailedRound, now: datetime) -> JobStatus:
    """Add the round's line, or correct the line that it has: a pod that answers late may have failed first."""
    positions = (n for n, entry in enumerate(status.restarts) if failed.names(entry) or failed.covers(entry))
    position = next(positions, None)
    if position is None:
        return append(status, _detected(failed.line, now))
    entry = status.restarts[position]
    if entry.restart_scope is not RestartScope.PROCESS:
        return status  # Processes that lost their peers, not a failure of its own.
    is_better = failed.names(entry) or blame.comes_before(failed.suspect, entry)
    if not is_better or entry.recovered_time is not None:
        return status
    # It was detected when its line was first written, whoever is blamed in the end.
    seconds = entry.detection_seconds
    detected_at = entry.time + timedelta(seconds=seconds) if seconds is not None else None
    return _replace(status, {position: _detected(failed.line, detected_at)})


def _detected(entry: Restart, detected_at: datetime | None) -> Restart:
    return entry.model_copy(update={"detection_seconds": seconds_to_detect(entry.time, detected_at)})


def seconds_to_detect(failed_at: datetime | None, detected_at: datetime | None) -> float | None:
    """None: nobody says when it failed, or the clocks contradict each other."""
    seconds = (detected_at - failed_at).total_seconds() if detected_at and failed_at else -1.0
    return round(seconds, 3) if seconds >= 0 else None


def _entry(status: JobStatus, suspect: Blame, pods: Mapping[int, Pod], number: int, code: int | None) -> Restart:
    pod, failure = pods[suspect.index], suspect.failure
    return Restart(
        restart_scope=RestartScope.PROCESS,
        cause=suspect.cause,
        time=failure.time,
        attempt=status.attempt,
        pod=pod.name,
        pod_uid=pod.uid,
        node=pod.node,
        round=number,
        rank=failure.rank,
        exit_code=failure.exit_code,
        neuron_code=code,
        rule=suspect.signal.rule if suspect.signal else "",
        message=clip(suspect.message),
        log_tail=clip_lines(failure.lines),
        step=failure.step if failure.step is not None else last_step(status),
    )


# ---- recoveries --------------------------------------------------------------------------------------------------


def last_step(status: JobStatus) -> int | None:
    """Last finished step that is known."""
    return status.progress.step if status.progress else None


@dataclass(frozen=True, slots=True)
class _Recovery:
    """What came after a failure."""

    first_step_time: datetime
    resumed_from_step: int
    steps_lost: int
    skipped_checkpoints: str = ""
    """What was wrong with newer checkpoints."""
    source: str = ""
    """Where the step was taken from."""


def close_recovered(status: JobStatus, report: Progress | None) -> JobStatus:
    """Close the lines after whose failure a step has been finished."""
    if report is None:
        return status
    closed: dict[int, Restart] = {}
    charged = {entry.recovered_time for entry in status.restarts}
    for position, entry in enumerate(status.restarts):
        if entry.recovered_time is not None or (recovery := _recovery(entry, report, status)) is None:
            continue
        first_step = recovery.first_step_time
        closed[position] = entry.model_copy(
            update={
                "resumed_from_step": recovery.resumed_from_step,
                # Failures one after another without a step between them have lost the same steps.
                "steps_lost": 0 if first_step in charged else recovery.steps_lost,
                "resume_source": recovery.source,
                "skipped_checkpoints": clip(recovery.skipped_checkpoints),
                "recovered_time": first_step,
                "recovery_seconds": round(_seconds(entry, first_step, status), 3),
            }
        )
        charged.add(first_step)
    lost_now = sum(entry.steps_lost or 0 for entry in closed.values())
    return _replace(status, closed).model_copy(update={"steps_lost": status.steps_lost + lost_now})


def _recovery(entry: Restart, report: Progress, status: JobStatus) -> _Recovery | None:
    """Return what the trainer reports after a failure; None: no step has been finished since."""
    is_later_pod = report.attempt > entry.attempt or (report.start_time is not None and entry.time < report.start_time)
    any_round = is_later_pod or entry.round is None
    later = [
        recovery
        for recovery in report.recoveries
        if (any_round or recovery.round > (entry.round or 0))
        # What had stepped before the failure is no recovery from it, whatever its number says.
        and (recovery.first_step_time is None or recovery.first_step_time > entry.time)
    ]
    for recovery in later:
        if recovery.first_step_time is not None:
            lost = max(other.steps_lost for other in later if other.round <= recovery.round)
            skipped = recovery.passed_over
            return _Recovery(recovery.first_step_time, recovery.resumed_from_step, lost, skipped, recovery.source[:63])
    went_on = any_round or report.round > (entry.round or 0)
    return _start_from_scratch(entry, report, status) if went_on and not later else None


def _start_from_scratch(entry: Restart, report: Progress, status: JobStatus) -> _Recovery | None:
    """A start from scratch is no recovery to the trainer: what the last failure found is gone."""
    last_step_time = report.last_step_time
    if report.phase not in _STEPPING or last_step_time is None or last_step_time <= entry.time:
        return None
    resumed = status.checkpoint.step if status.checkpoint else 0
    return _Recovery(last_step_time, resumed, max(0, (entry.step or 0) - resumed))


def _seconds(entry: Restart, first_step: datetime, status: JobStatus) -> float:
    """Return the time from a failure to the first step after it, without the time that the job was suspended in
    between."""
    paused = sum(
        min(line.suspended_seconds, (line.time - entry.time).total_seconds())
        for line in status.restarts
        if line.suspended_seconds is not None and entry.time < line.time <= first_step
    )
    return (first_step - entry.time).total_seconds() - paused


def _replace(status: JobStatus, changed: Mapping[int, Restart]) -> JobStatus:
    if not changed:
        return status
    entries: Iterable[Restart] = (changed.get(n, entry) for n, entry in enumerate(status.restarts))
    return status.model_copy(update={"restarts": tuple(entries)})
