"""Which lines of the ledger tell of one incident: pods that fall together fall for one reason.

Passes are quick and kubelets are not: of two pods that are killed at once, one is told, and often replaced, a second
before the other is known. One incident must cost the budget once, wait once and count once at a step.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from neuron_api.resource.status import JobStatus, Restart, RestartScope

CORRELATION_WINDOW_SECONDS: Final = 10.0
"""From its first line: kubelets look at containers every second and tell within a few; a successor takes 4 to start."""


def incidents(entries: Iterable[Restart]) -> list[list[Restart]]:
    """Lines of pods, oldest first, in groups. A pod that falls again is another incident, so is a restart of a gang."""
    groups: list[list[Restart]] = []
    for entry in entries:
        if entry.restart_scope is RestartScope.PROCESS:
            continue
        if groups and _joins(entry, groups[-1]):
            groups[-1].append(entry)
        else:
            groups.append([entry])
    return groups


def is_charged(status: JobStatus) -> bool:
    """Return whether the incident of the newest line has been counted by an earlier one."""
    counted = {failure.time for failure in status.counted_failures}
    groups = incidents(status.restarts)
    return bool(groups) and any(entry.time in counted for entry in groups[-1])


def _joins(entry: Restart, incident: Sequence[Restart]) -> bool:
    first = incident[0]
    if (entry.restart_scope, entry.attempt) != (
        RestartScope.POD,
        first.attempt,
    ) or first.restart_scope is not RestartScope.POD:
        return False
    is_near = 0 <= (entry.time - first.time).total_seconds() <= CORRELATION_WINDOW_SECONDS
    return is_near and entry.pod not in {line.pod for line in incident}
