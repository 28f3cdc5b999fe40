"""How many failures a job may have: all together and of one cause, for ever or in a sliding window.

The budgets of restarts inside the pods are the launchers'. Disruptions never come here.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from neuron_api.resource.reasons import Reason
from neuron_api.resource.spec import HangPolicy, RestartPolicy
from neuron_api.resource.status import CountedFailure, JobStatus


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
