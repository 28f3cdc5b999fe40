"""How many failures a job may have, all together and of one cause, forever or in a sliding window; and how long to
wait before pods are created again.

The budgets of restarts inside the pods are the launchers'. Disruptions never come here.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from neuron_api.resource.reasons import Reason
from neuron_api.resource.spec import HangPolicy, RestartPolicy
from neuron_api.resource.status import CountedFailure, JobStatus
from neuron_operator.planning.failures.incident import incidents

from .ledger import PLANNED, open_entries

FREE_REPLACEMENTS: Final = 2
"""Replacements in a row, without a step between them, that are made at once."""
FIRST_BACKOFF_SECONDS: Final = 10.0
MAX_BACKOFF_SECONDS: Final = 300.0


def exhausted(status: JobStatus, cause: Reason, policy: RestartPolicy, now: datetime) -> str | None:
    """The budget that one more failure of this cause would exceed, as `restartPolicy.field (limit) …`; None: none."""
    counting = [
        failure for failure in _in_window(status.counted_failures, policy, now) if failure.cause is not Reason.HANG
    ]
    alike = [failure for failure in counting if failure.cause is cause]
    field, limit = _of_cause(cause, policy)
    within = _within(policy)
    if limit is not None and len(alike) >= limit:
        return f"restartPolicy.budgets.{field} ({limit}) is used up{within}"
    if len(counting) >= policy.max_gang_restarts:
        return f"restartPolicy.maxGangRestarts ({policy.max_gang_restarts}) is used up{within}"
    return None


def used(status: JobStatus, policy: RestartPolicy, now: datetime) -> int:
    """Failures that count against restartPolicy.maxGangRestarts now."""
    return sum(failure.cause is not Reason.HANG for failure in _in_window(status.counted_failures, policy, now))


def hangs_exhausted(status: JobStatus, hangs: HangPolicy, policy: RestartPolicy, now: datetime) -> str | None:
    """The same for one more hang, which has a budget of its own."""
    counting = [failure for failure in _in_window(status.counted_failures, policy, now) if failure.cause is Reason.HANG]
    if len(counting) < hangs.max_restarts:
        return None
    return f"hangPolicy.maxRestarts ({hangs.max_restarts}) is used up{_within(policy)}"


def charge(status: JobStatus, cause: Reason, policy: RestartPolicy, now: datetime) -> JobStatus:
    """The status with one more failure; those that have left the window are forgotten."""
    counting = _in_window(status.counted_failures, policy, now)
    own = cause is not Reason.HANG
    update = {
        "counted_failures": (*counting, CountedFailure(cause=cause, time=now)),
        "gang_failures": status.gang_failures + own,
    }
    return status.model_copy(update=update)


def backoff_seconds(status: JobStatus, now: datetime) -> float:
    """Return the seconds until pods may be created again; 0: now.

    Not at all the first times, longer while no step is finished in between: a pod that the kubelet turns away at once
    would otherwise be created a thousand times an hour.
    """
    failures = (entry for entry in open_entries(status) if entry.cause not in PLANNED)
    moments = [group[0].time for group in incidents(sorted(failures, key=lambda entry: entry.time))]
    if len(moments) <= FREE_REPLACEMENTS:
        return 0.0
    delay = min(FIRST_BACKOFF_SECONDS * 2.0 ** (len(moments) - FREE_REPLACEMENTS - 1), MAX_BACKOFF_SECONDS)
    return min(delay, max(0.0, delay - (now - moments[-1]).total_seconds()))  # the clock may have been set back


def _in_window(failures: Iterable[CountedFailure], policy: RestartPolicy, now: datetime) -> tuple[CountedFailure, ...]:
    if policy.window_seconds is None:
        return tuple(failures)
    since = now - timedelta(seconds=policy.window_seconds)
    return tuple(failure for failure in failures if failure.time > since)


def _within(policy: RestartPolicy) -> str:
    return f" within restartPolicy.windowSeconds ({policy.window_seconds})" if policy.window_seconds else ""


def _of_cause(cause: Reason, policy: RestartPolicy) -> tuple[str, int | None]:
    budgets = policy.budgets
    match cause:
        case Reason.OUT_OF_MEMORY:
            return "outOfMemory", budgets.out_of_memory
        case Reason.PROCESS_KILLED:
            return "processKilled", budgets.process_killed
        case Reason.POD_FAILED:
            return "podFailed", budgets.pod_failed
        case _:
            return "", None
