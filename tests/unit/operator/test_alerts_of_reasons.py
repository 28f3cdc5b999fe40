"""The alerts that the page of reasons names for each reason are those that a job in that state sets off.

Kind: a mapping that is typed by hand and drifts from the planner. Looked at: every case of `reason_cases`, by phase,
headline and its ledger; not how long each alert waits (`tests/unit/chart/test_alerts.py` has the rules themselves).
"""

from collections.abc import Iterator

import pytest

from neuron_api.resource.reasons import RESPONSES, Alert, ConditionType, Owner, Reason
from neuron_api.resource.status import ConditionStatus, JobStatus, Phase

from . import reason_cases_of_failures  # noqa: F401
from .reason_cases import CASES

HEADLINE = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED)
QUEUES = (Reason.WAITING_FOR_QUOTA, Reason.WAITING_FOR_GANG)


def alerts(status: JobStatus, reason: Reason) -> Iterator[Alert]:
    """Alerts that fire for a job that stays like this, where the reason is why."""
    (headline,) = [one for one in status.conditions if one.type in HEADLINE and one.status is ConditionStatus.TRUE]
    if headline.reason is reason:
        if status.phase is Phase.FAILED:
            yield Alert.JOB_FAILED
        elif headline.type is ConditionType.STALLED:
            yield Alert.JOB_STALLED
        elif status.phase in (Phase.PENDING, Phase.STARTING):
            yield Alert.JOB_QUEUED if reason in QUEUES else Alert.JOB_PENDING
    causes = [entry.cause for entry in status.restarts] + [one.reason for one in status.excluded_nodes]
    if reason is Reason.STRAGGLER and status.stragglers:
        yield Alert.STRAGGLER
    elif reason in causes:
        yield Alert.RESTARTS_OFTEN
    if any(one.cause is reason for one in status.counted_failures):
        yield Alert.RESTART_BUDGET_LOW


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_names_the_alerts_that_it_sets_off(reason: Reason) -> None:
    fired = {alert for case in CASES[reason] for alert in alerts(case(), reason)}
    named = set(RESPONSES[reason].alerts)
    assert named - {Alert.NO_STEP} == fired
    assert named or RESPONSES[reason].owner is not Owner.PLATFORM, "the platform team hears of it by an alert"
