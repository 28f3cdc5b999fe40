"""Phase and conditions out of facts: whatever the facts are, they never contradict each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import NOW, accepted, at, make_job
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import Condition, ConditionStatus, Phase, Restart, RestartScope
from neuron_operator.planning.observation.waiting import Wait
from neuron_operator.planning.restarts.ladder import COMPLETED
from neuron_operator.planning.status import conditions
from neuron_operator.planning.status.conditions import End, Facts, Pause
from neuron_operator.planning.validation.validation import Refused

ACCEPTED = accepted(make_job().nodes(2).build())
REFUSED = Refused(Reason.CONFIG_INVALID, "trainer.max_steps: no. Fix it.")
LOST = Restart(restart_scope=RestartScope.POD, cause=Reason.NODE_LOST, time=NOW, pod="tiny-0-1", node="node-1", step=7)
STUCK = Wait(Reason.IMAGE_PULL_FAILED, "no image", stalled=True)
PENDING = Wait(Reason.PODS_PENDING, "no node", stalled=False)
FAILED = End(Reason.BUDGET_EXHAUSTED, "too often")
WAITS, STOPS, STOPPED, REFUSES = (
    Pause(reason, "told")
    for reason in (Reason.WAITING_FOR_CHECKPOINT, Reason.SUSPENDING, Reason.SUSPENDED, Reason.CANNOT_RESUME)
)
EXCLUSIVE = {ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED}

ANY_FACTS = st.builds(
    Facts,
    generation=st.just(3),
    config=st.sampled_from([ACCEPTED, REFUSED, None]),
    nodes=st.just(2),
    existing=st.integers(0, 2),
    ready=st.integers(0, 2),
    wait=st.sampled_from([None, STUCK, PENDING]),
    stepping=st.booleans(),
    restart=st.sampled_from([None, LOST]),
    end=st.sampled_from([None, COMPLETED, FAILED]),
    pause=st.sampled_from([None, WAITS, STOPS, STOPPED, REFUSES]),
)


def facts(**values: object) -> Facts:
    return Facts(**{"generation": 1, "config": ACCEPTED, "nodes": 2, "existing": 2, **values})


def told(given: Facts) -> dict[ConditionType, Condition]:
    return {condition.type: condition for condition in conditions.conditions(given, (), NOW)}


@given(ANY_FACTS)
def test_no_facts_lead_to_a_contradiction(given: Facts) -> None:
    found = told(given)
    true = {kind for kind, condition in found.items() if condition.status is ConditionStatus.TRUE}
    phase = conditions.phase(given)
    assert set(found) == set(ConditionType)
    assert len(true & EXCLUSIVE) == 1
    assert {(found[kind].reason, found[kind].message) for kind in EXCLUSIVE} == {
        (found[ConditionType.READY].reason, found[ConditionType.READY].message)
    }
    assert (ConditionType.SUCCEEDED in true) == (phase is Phase.SUCCEEDED)
    assert (ConditionType.FAILED in true) == (phase is Phase.FAILED)
    assert (ConditionType.READY in true) == (phase in (Phase.RUNNING, Phase.SUSPENDED, Phase.SUCCEEDED))
    assert (phase is Phase.SUSPENDED) <= (ConditionType.SUSPENDED in true)
    if phase is Phase.RUNNING:
        assert ConditionType.PROGRESSING in true
    if phase is Phase.RESTARTING:
        assert ConditionType.RESTARTING in true
    if ConditionType.SUSPENDED in true or phase in (Phase.SUCCEEDED, Phase.FAILED):
        assert not true & {ConditionType.PROGRESSING, ConditionType.PODS_READY, ConditionType.RESTARTING}
    if phase in (Phase.SUCCEEDED, Phase.FAILED):
        assert ConditionType.SUSPENDED not in true
    assert all(condition.observed_generation == 3 for condition in found.values())
    assert all(condition.message for kind, condition in found.items() if kind is not ConditionType.CONFIG_VALID)


@pytest.mark.parametrize(
    ("given", "phase", "kind", "reason"),
    [
        (facts(config=REFUSED), Phase.PENDING, ConditionType.STALLED, Reason.CONFIG_INVALID),
        (facts(existing=0), Phase.PENDING, ConditionType.RECONCILING, Reason.NOT_STARTED),
        (facts(), Phase.STARTING, ConditionType.RECONCILING, Reason.PODS_CREATED),
        (facts(ready=2), Phase.STARTING, ConditionType.RECONCILING, Reason.WAITING_FOR_FIRST_STEP),
        (facts(wait=PENDING), Phase.PENDING, ConditionType.RECONCILING, Reason.PODS_PENDING),
        (facts(wait=STUCK), Phase.PENDING, ConditionType.STALLED, Reason.IMAGE_PULL_FAILED),
        (facts(ready=2, stepping=True), Phase.RUNNING, ConditionType.READY, Reason.STEPS_ADVANCING),
        (facts(stepping=True, restart=LOST), Phase.RESTARTING, ConditionType.RECONCILING, Reason.NODE_LOST),
        (facts(restart=LOST, wait=STUCK), Phase.RESTARTING, ConditionType.STALLED, Reason.IMAGE_PULL_FAILED),
        (facts(stepping=True, pause=WAITS), Phase.SUSPENDING, ConditionType.RECONCILING, Reason.WAITING_FOR_CHECKPOINT),
        (facts(wait=STUCK, restart=LOST, pause=STOPS), Phase.SUSPENDING, ConditionType.RECONCILING, Reason.SUSPENDING),
        (facts(existing=0, pause=STOPPED), Phase.SUSPENDED, ConditionType.READY, Reason.SUSPENDED),
        (facts(pause=STOPPED, config=REFUSED), Phase.PENDING, ConditionType.STALLED, Reason.CONFIG_INVALID),
        (facts(stepping=True, pause=REFUSES), Phase.RUNNING, ConditionType.READY, Reason.STEPS_ADVANCING),
        (facts(pause=STOPPED, end=FAILED), Phase.FAILED, ConditionType.STALLED, Reason.BUDGET_EXHAUSTED),
        (facts(end=COMPLETED), Phase.SUCCEEDED, ConditionType.READY, Reason.COMPLETED),
        (facts(end=FAILED), Phase.FAILED, ConditionType.STALLED, Reason.BUDGET_EXHAUSTED),
        (facts(end=COMPLETED, config=REFUSED), Phase.SUCCEEDED, ConditionType.READY, Reason.COMPLETED),
    ],
)
def test_the_headline_is_the_first_thing_that_applies(
    given: Facts, phase: Phase, kind: ConditionType, reason: Reason
) -> None:
    assert conditions.phase(given) is phase
    assert conditions.headline(given)[:2] == (kind, reason)


def test_pods_are_ready_only_when_all_are() -> None:
    assert told(facts(ready=1))[ConditionType.PODS_READY].status is ConditionStatus.FALSE
    assert told(facts(ready=2))[ConditionType.PODS_READY].reason is Reason.ALL_PODS_READY


def test_what_was_said_about_the_configuration_stays_when_the_job_is_over() -> None:
    before = conditions.conditions(facts(), (), NOW)
    after = conditions.conditions(facts(config=None, end=COMPLETED), before, at(60))
    assert [c for c in before if c.type is ConditionType.CONFIG_VALID] == [
        c for c in after if c.type is ConditionType.CONFIG_VALID
    ]


def test_the_time_of_a_transition_is_that_of_the_status_and_in_whole_seconds() -> None:
    first = conditions.conditions(facts(), (), at(0.75))
    assert {c.last_transition_time for c in first} == {NOW}
    later = {c.type: c for c in conditions.conditions(facts(ready=2), first, at(9))}
    assert later[ConditionType.RECONCILING].last_transition_time == NOW
    assert later[ConditionType.PODS_READY].last_transition_time == at(9)


@pytest.mark.parametrize(
    ("restart", "sentence"),
    [
        (LOST, "NodeLost: pod tiny-0-1 on node node-1 after step 7. The pod is replaced, the others wait for it."),
        (
            Restart(restart_scope=RestartScope.PROCESS, cause=Reason.PROCESS_KILLED, time=NOW, pod="p", rank=3,
                    exit_code=-9, message="SIGKILL"),
            "ProcessKilled: rank 3 in pod p (exit code -9): SIGKILL. All processes are restarted in their pods.",
        ),
        (
            Restart(restart_scope=RestartScope.GANG, cause=Reason.POD_FAILED, time=NOW, pod="p", exit_code=1,
                    message="KeyError: x."),
            "PodFailed: pod p (exit code 1): KeyError: x. All pods are replaced.",
        ),
    ],
)  # fmt: skip
def test_a_restart_is_told_with_who_where_and_what_is_done(restart: Restart, sentence: str) -> None:
    assert conditions.sentence(restart) == sentence
