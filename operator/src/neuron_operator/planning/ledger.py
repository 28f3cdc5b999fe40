"""The ledger of restarts in the job's status: what happened, what it cost. Each failure is told once.

A line is open until the first step after its failure. Rounds are the elastic agent's, counted on pod 0: a failure in
round n is over when a round after n, or a later pod 0, has finished a step.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from neuron_api.progress import Progress, TrainerPhase
from neuron_api.status import JobStatus, Restart, Rung

from . import blame
from .observation import Pod

LIMIT: Final = 64
_MESSAGE_LIMIT: Final = 1024
_STEPPING: Final = (TrainerPhase.TRAINING, TrainerPhase.SAVING, TrainerPhase.SUCCEEDED)


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
    """The failure that is being recovered from."""
    return next(iter(reversed(open_entries(status))), None)


def clip(message: str) -> str:
    """As much as a line of the ledger holds."""
    return message[:_MESSAGE_LIMIT]


# ---- process failures -------------------------------------------------------------------------------------------


def unsettled(status: JobStatus, report: Progress, pod_uid: str) -> bool:
    """Whether every pod must be asked, to tell the first failing process from its victims."""
    if report.round != seen_round(status, pod_uid) or any(f.round >= report.round for f in report.failures):
        return True
    return any(entry.rung is Rung.PROCESS for entry in open_entries(status))


def seen_round(status: JobStatus, pod_uid: str) -> int:
    """Failures of rounds before this one are told; a new pod 0 counts from 0."""
    progress = status.progress
    return progress.round if progress is not None and progress.pod_uid == pod_uid else 0


def follow(status: JobStatus, reports: Mapping[int, Progress], pods: Mapping[int, Pod]) -> JobStatus:
    """Tell the process failures of the rounds since the last look, one line for each round."""
    report, host = reports.get(0), pods.get(0)
    if report is None or host is None:
        return status
    oldest = max(seen_round(status, host.uid), report.round - LIMIT)
    for number in range(oldest, report.round + 1):
        if found := blame.of_round(reports, number):
            status = _tell(status, found, pods, number)
    return status


def _tell(status: JobStatus, found: blame.Blame, pods: Mapping[int, Pod], number: int) -> JobStatus:
    for position, entry in enumerate(status.restarts):
        ended_this = entry.attempt == status.attempt and entry.round == number and entry.recovered_time is None
        if ended_this and entry.rung is not Rung.PROCESS:
            return status  # Processes that lost their peers, not a failure of its own.
        if ended_this:
            refined = _entry(status, found, pods, number)
            return _replace(status, {position: refined})
    return append(status, _entry(status, found, pods, number))


def _entry(status: JobStatus, found: blame.Blame, pods: Mapping[int, Pod], number: int) -> Restart:
    pod, failure = pods.get(found.index), found.failure
    return Restart(
        rung=Rung.PROCESS,
        cause=found.cause,
        time=failure.time,
        attempt=status.attempt,
        pod=pod.name if pod else "",
        pod_uid=pod.uid if pod else "",
        node=pod.node if pod else "",
        round=number,
        rank=failure.rank,
        exit_code=failure.exit_code,
        message=clip(found.message),
        step=failure.step if failure.step is not None else last_step(status),
    )


# ---- recoveries --------------------------------------------------------------------------------------------------


def last_step(status: JobStatus) -> int | None:
    """Last finished step that is known."""
    return status.progress.step if status.progress else None


def recover(status: JobStatus, report: Progress | None) -> JobStatus:
    """Close the lines after whose failure a step has been finished."""
    if report is None:
        return status
    closed: dict[int, Restart] = {}
    charged: set[int] = set()
    for position, entry in enumerate(status.restarts):
        if entry.recovered_time is None and (done := _recovery(entry, report, status)):
            round_, first_step, resumed, lost = done
            closed[position] = entry.model_copy(
                update={
                    "resumed_from_step": resumed,
                    # Failures one after another without a step between them have lost the same steps.
                    "steps_lost": 0 if round_ in charged else lost,
                    "recovered_time": first_step,
                    "recovery_seconds": round(max(0.0, (first_step - entry.time).total_seconds()), 3),
                }
            )
            charged.add(round_)
    lost_now = sum(entry.steps_lost or 0 for entry in closed.values())
    return _replace(status, closed).model_copy(update={"steps_lost": status.steps_lost + lost_now})


def _recovery(entry: Restart, report: Progress, status: JobStatus) -> tuple[int, datetime, int, int] | None:
    """Round, time of the first step, step resumed from, steps lost."""
    later_pod = report.start_time is not None and entry.time < report.start_time
    after = [r for r in report.recoveries if later_pod or entry.round is None or r.round > entry.round]
    for found in after:
        if found.first_step_time is not None:
            lost = max(one.steps_lost for one in after if one.round <= found.round)
            return found.round, found.first_step_time, found.resumed_from_step, lost
    went_on = later_pod or entry.round is None or report.round > entry.round
    stepped = report.phase in _STEPPING and report.last_step_time is not None and report.last_step_time > entry.time
    if after or not went_on or not stepped or report.last_step_time is None:
        return None
    # A start from scratch is no recovery to the trainer: what the last failure found is gone.
    resumed = status.checkpoint.step if status.checkpoint else 0
    return report.round, report.last_step_time, resumed, max(0, (entry.step or 0) - resumed)


def _replace(status: JobStatus, changed: Mapping[int, Restart]) -> JobStatus:
    if not changed:
        return status
    entries: Iterable[Restart] = (changed.get(n, entry) for n, entry in enumerate(status.restarts))
    return status.model_copy(update={"restarts": tuple(entries)})
