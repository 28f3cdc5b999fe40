"""What the status says once it is known what came of a plan."""

from builders import (
    NOW,
    OPTIONS,
    at,
    make_job,
    make_pod,
    observed,
)
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_operator.planning.observation.waiting import Rejection
from neuron_operator.planning.outcome import finalize_status
from neuron_operator.planning.plan import PlanOutcome
from neuron_operator.planning.planner import plan

from .passes import JOB, PODS, TWO, known, names, one_pass, reparsed, started, true


def test_what_was_created_is_in_the_status_and_the_rest_is_not() -> None:
    planned = plan(observed(started(JOB)), OPTIONS, NOW)
    outcome = PlanOutcome({0: "u0"}, (Rejection("Pod tiny-0-1", "exceeded quota: pods"),))
    status = finalize_status(planned, outcome, NOW)
    assert [record.uid for record in status.pods] == ["u0"]
    assert true(status)[ConditionType.STALLED] is Reason.POD_REJECTED
    assert status.start_time == NOW


def test_the_start_is_told_once() -> None:
    _, status = one_pass(observed(JOB))
    _, later = one_pass(observed(reparsed(TWO, status), PODS), 100)
    assert later.start_time == status.start_time == NOW


def test_a_transition_time_moves_only_with_its_status() -> None:
    _, status = one_pass(observed(JOB))
    _, later = one_pass(observed(reparsed(TWO, status), PODS), 100)
    before, after = ({c.type: c for c in one.conditions} for one in (status, later))
    assert after[ConditionType.RECONCILING].last_transition_time == NOW
    assert after[ConditionType.RECONCILING].reason is not before[ConditionType.RECONCILING].reason
    assert after[ConditionType.PODS_READY].last_transition_time == at(100)


def test_records_are_in_the_order_of_places_for_more_than_ten_pods() -> None:
    job = make_job().nodes(12).build()
    _, status = one_pass(observed(started(job)))
    assert [record.name for record in status.pods] == [f"tiny-0-{n:02}" for n in range(12)]


def test_a_pod_beyond_the_gang_is_deleted() -> None:
    extra = make_pod(JOB, 7)
    planned, _ = one_pass(observed(known(JOB, *PODS), [*PODS, extra]))
    assert names(planned) == ["tiny-0-7"]
