"""The ledger of restarts in the job's status: what happened, what it cost. Each failure is told once.

A line is open until the first step after its failure. Rounds are the elastic agent's, counted on pod 0: a failure in
round n is over when a round after n, or a later pod 0, has finished a step.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from neuron_api.resource.progress import LINE_LENGTH, MAX_LOG_LINES, Progress, TrainerPhase
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import JobStatus, Restart, RestartScope
from neuron_operator.planning.failures import blame, signals
from neuron_operator.planning.failures.blame import Blame
from neuron_operator.planning.failures.failure_table import FailureTable
from neuron_operator.planning.observation.observation import Pod

LIMIT: Final = 64
_MESSAGE_LIMIT: Final = 1024
_STEPPING: Final = (
    TrainerPhase.TRAINING,
    TrainerPhase.SAVING,
    TrainerPhase.VALIDATING,
    TrainerPhase.SUCCEEDED,
)


def append(status: JobStatus, *entries: Restart) -> JobStatus:
    """Add lines; the oldest fall off."""
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
    """As much as a line of the ledger holds."""
    return message[:_MESSAGE_LIMIT]


def clip_lines(lines: Iterable[str]) -> tuple[str, ...]:
    """As many of the last lines, and as much of each."""
    return tuple(line[:LINE_LENGTH] for line in lines)[-MAX_LOG_LINES:]


# ---- process failures -------------------------------------------------------------------------------------------


def needs_every_report(status: JobStatus, report: Progress, pod_uid: str) -> bool:
    """Whether every pod must be asked, to tell the first failing process from its victims."""
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
    """Tell the process failures since the last look, one line for each round that ended with one.

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
            new = _entry(status, suspects[0], pods, number, code)
            status = _record(status, new, suspects, pods, since=report.start_time, now=now)
    return status


def _record(
    status: JobStatus,
    new: Restart,
    suspects: tuple[Blame, ...],
    pods: Mapping[int, Pod],
    *,
    since: datetime | None,
    now: datetime,
) -> JobStatus:
    same = {(pods[suspect.index].uid, suspect.failure.time) for suspect in suspects}
    for position, entry in enumerate(status.restarts):
        is_recorded = entry.restart_scope is RestartScope.PROCESS and (entry.pod_uid, entry.time) in same
        in_round = entry.attempt == status.attempt and entry.round == new.round
        if not is_recorded and not (in_round and (since is None or entry.time >= since)):
            continue
        if entry.restart_scope is not RestartScope.PROCESS:
            return status  # Processes that lost their peers, not a failure of its own.
        better = is_recorded or blame.comes_before(suspects[0], entry)
        if not better or entry.recovered_time is not None:
            return status
        # It was seen when its line was first written, whoever is blamed in the end.
        detected_at = (
            entry.time + timedelta(seconds=entry.detection_seconds) if entry.detection_seconds is not None else None
        )
        return _replace(status, {position: _detected(new, detected_at)})
    return append(status, _detected(new, now))


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


def close_recovered(status: JobStatus, report: Progress | None) -> JobStatus:
    """Close the lines after whose failure a step has been finished."""
    if report is None:
        return status
    closed: dict[int, Restart] = {}
    charged = {entry.recovered_time for entry in status.restarts}
    for position, entry in enumerate(status.restarts):
        if entry.recovered_time is None and (done := _recovery(entry, report, status)):
            first_step, resumed, lost, passed_over = done
            closed[position] = entry.model_copy(
                update={
                    "resumed_from_step": resumed,
                    # Failures one after another without a step between them have lost the same steps.
                    "steps_lost": 0 if first_step in charged else lost,
                    "skipped_checkpoints": clip(passed_over),
                    "recovered_time": first_step,
                    "recovery_seconds": round(_seconds(entry, first_step, status), 3),
                }
            )
            charged.add(first_step)
    lost_now = sum(entry.steps_lost or 0 for entry in closed.values())
    return _replace(status, closed).model_copy(update={"steps_lost": status.steps_lost + lost_now})


def _recovery(entry: Restart, report: Progress, status: JobStatus) -> tuple[datetime, int, int, str] | None:
    """Time of the first step, step resumed from, steps lost, what was wrong with newer checkpoints."""
    later_pod = report.attempt > entry.attempt or (report.start_time is not None and entry.time < report.start_time)
    any_round = later_pod or entry.round is None
    after = [
        recovery
        for recovery in report.recoveries
        if (any_round or recovery.round > (entry.round or 0))
        # What had stepped before the failure is no recovery from it, whatever its number says.
        and (recovery.first_step_time is None or recovery.first_step_time > entry.time)
    ]
    for first in after:
        if first.first_step_time is not None:
            lost = max(recovery.steps_lost for recovery in after if recovery.round <= first.round)
            return first.first_step_time, first.resumed_from_step, lost, first.passed_over
    went_on = any_round or report.round > (entry.round or 0)
    stepped = report.phase in _STEPPING and report.last_step_time is not None and report.last_step_time > entry.time
    if after or not went_on or not stepped or report.last_step_time is None:
        return None
    # A start from scratch is no recovery to the trainer: what the last failure found is gone.
    resumed = status.checkpoint.step if status.checkpoint else 0
    return report.last_step_time, resumed, max(0, (entry.step or 0) - resumed), ""


def _seconds(entry: Restart, first_step: datetime, status: JobStatus) -> float:
    """From the failure to the first step after it, without the time that the job was suspended in between."""
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
