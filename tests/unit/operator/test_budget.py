"""How many failures a job may have: together and per cause, for ever or in a sliding window."""

import pytest

from builders import at
from neuron_api.resource.reasons import Reason
from neuron_api.resource.spec import RestartPolicy
from neuron_api.resource.status import JobStatus
from neuron_operator.planning.restarts import budget

MEMORY, KILLED, FAILED = Reason.OUT_OF_MEMORY, Reason.PROCESS_KILLED, Reason.POD_FAILED


def after(policy: RestartPolicy, *failures: tuple[Reason, float]) -> JobStatus:
    status = JobStatus()
    for cause, seconds in failures:
        assert budget.exhausted(status, cause, policy, at(seconds)) is None
        status = budget.charge(status, cause, policy, at(seconds))
    return status


def test_failures_of_every_cause_count_together() -> None:
    policy = RestartPolicy(max_gang_restarts=3)
    status = after(policy, (MEMORY, 0), (KILLED, 1), (FAILED, 2))
    assert status.gang_failures == 3
    for cause in (MEMORY, KILLED, FAILED, Reason.INCOMPLETE_COMPLETION):
        assert budget.exhausted(status, cause, policy, at(1e9)) == "restartPolicy.maxGangRestarts (3) is used up"


@pytest.mark.parametrize(
    ("cause", "field"), [(MEMORY, "outOfMemory"), (KILLED, "processKilled"), (FAILED, "podFailed")]
)
def test_a_cause_may_have_a_smaller_budget(cause: Reason, field: str) -> None:
    policy = RestartPolicy.model_validate({"budgets": {field: 1}})
    status = after(policy, (cause, 0))
    assert budget.exhausted(status, cause, policy, at(9)) == f"restartPolicy.budgets.{field} (1) is used up"
    others = {MEMORY, KILLED, FAILED} - {cause}
    assert {budget.exhausted(status, other, policy, at(9)) for other in others} == {None}


def test_a_budget_of_none_ends_a_job_at_once() -> None:
    policy = RestartPolicy.model_validate({"budgets": {"outOfMemory": 0}})
    assert budget.exhausted(JobStatus(), MEMORY, policy, at(0)) is not None
    assert budget.exhausted(JobStatus(), KILLED, policy, at(0)) is None


def test_a_failure_counts_for_as_long_as_the_window() -> None:
    policy = RestartPolicy(max_gang_restarts=2, window_seconds=100)
    status = after(policy, (FAILED, 0), (FAILED, 60))
    told = budget.exhausted(status, FAILED, policy, at(99))
    assert told == "restartPolicy.maxGangRestarts (2) is used up within restartPolicy.windowSeconds (100)"
    assert budget.exhausted(status, FAILED, policy, at(100)) is None
    later = budget.charge(status, FAILED, policy, at(100))
    assert [one.time for one in later.counted_failures] == [at(60), at(100)]
    assert later.gang_failures == 3, "the sum over the job's life"


def test_a_long_life_with_failures_that_are_far_apart_never_ends_by_them() -> None:
    policy = RestartPolicy(max_gang_restarts=1, window_seconds=60)
    status = after(policy, *((FAILED, 61.0 * n) for n in range(200)))
    assert (status.gang_failures, len(status.counted_failures)) == (200, 1)


def test_a_policy_that_is_changed_counts_at_once() -> None:
    status = after(RestartPolicy(max_gang_restarts=5), *((FAILED, float(n)) for n in range(4)))
    assert budget.exhausted(status, FAILED, RestartPolicy(max_gang_restarts=4), at(9)) is not None
    assert budget.exhausted(status, FAILED, RestartPolicy(max_gang_restarts=4, window_seconds=60), at(62)) is None
