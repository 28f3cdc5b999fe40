"""What a preemption would cost, as Kueue reads it: levels, when they change, and what they save."""

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from builders import NOW, at, make_job, make_report, observed, running_gang, with_status
from neuron_api import contract
from neuron_api.resource.scheduling import GangScheduler
from neuron_api.resource.status import CheckpointStatus
from neuron_operator.planning.objects import priority_boost
from neuron_operator.planning.objects.priority_boost import INTERVAL_SECONDS, UNIT, Boost, next_level
from neuron_operator.planning.observation.observation import Child, Observed, SchedulerState
from neuron_operator.planning.plan import Plan
from neuron_operator.planning.planner import plan

from .preemption_trace import lost_node_seconds

KEY = "kueue.x-k8s.io/priority-boost"
SCHEDULING = {"gang": "Kueue", "queueName": "team", "maxPriorityBoost": 5}
OPTIONS = replace(builders.OPTIONS, gang_schedulers=frozenset({GangScheduler.KUEUE}))


@pytest.mark.parametrize(
    ("stake", "level"),
    [(0, 0), (UNIT - 1, 0), (UNIT, 1), (3 * UNIT - 1, 1), (3 * UNIT, 2), (7 * UNIT, 3), (1e9, 5)],
)
def test_a_level_is_reached_each_time_that_the_stake_doubles(stake: float, level: int) -> None:
    assert next_level(Boost(), stake, 5, NOW) == level


def test_a_level_falls_below_four_fifths_of_what_it_needs() -> None:
    boost = Boost(1, NOW - timedelta(hours=1))
    assert next_level(boost, 0.81 * UNIT, 5, NOW) == 1
    assert next_level(boost, 0.79 * UNIT, 5, NOW) == 0


def test_it_changes_once_in_a_minute() -> None:
    boost = Boost(3, NOW)
    assert next_level(boost, 0, 5, at(INTERVAL_SECONDS - 1)) == 3
    assert next_level(boost, 0, 5, at(INTERVAL_SECONDS)) == 0


@given(
    maximum=st.integers(1, 20),
    start=st.integers(-(10**9), 10**9),
    stakes=st.lists(st.tuples(st.floats(0, 1e12), st.floats(0.1, 1e4)), max_size=30),
)
def test_after_its_first_change_it_is_within_its_bounds_and_its_rhythm(
    maximum: int, start: int, stakes: list[tuple[float, float]]
) -> None:
    boost, now, changes = Boost(start), NOW, []
    for stake, seconds in stakes:
        now += timedelta(seconds=seconds)
        level = next_level(boost, stake, maximum, now)
        assert 0 <= level <= maximum
        if level != boost.level:
            boost = Boost(level, now)
            changes.append(now)
    pauses = [later - earlier for earlier, later in itertools.pairwise(changes)]
    assert all(pause >= timedelta(seconds=INTERVAL_SECONDS) for pause in pauses)


# ---- in a plan ---------------------------------------------------------------------------------------------------


def workload(**annotations: str) -> Child:
    metadata = {"namespace": "default", "name": "tiny-0", "uid": "w", "annotations": annotations}
    return Child("", {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "Workload", "metadata": metadata})


def seen(
    scheduling: dict[str, Any], *groups: Child, now: float = 900, saved: float | None = None, steps: bool = True
) -> Observed:
    """Two pods that have had their nodes since NOW, and finished a step just before `now`."""
    job = make_job().nodes(2).spec(scheduling=scheduling).build()
    gang = [replace(pod.build(), scheduled_at=NOW) for pod in running_gang(job)]
    checkpoint = CheckpointStatus(step=5, path="/training/step=5.ckpt", time=at(saved)) if saved is not None else None
    report = make_report(gang[0], job)
    reports = [report.step(5, at(now - 1)) if steps else report]
    values = {"scheduler": SchedulerState(served=True, groups=groups)}
    status = plan(observed(with_status(job, start_time=NOW), gang, reports, **values), OPTIONS, at(now - 1)).draft
    status = status.model_copy(update={"checkpoint": checkpoint})
    return observed(job.model_copy(update={"status": status}), gang, reports, **values)


def planned(observation: Observed, seconds: float) -> Plan:
    return plan(observation, OPTIONS, at(seconds))


def test_a_gang_that_has_trained_for_long_without_a_checkpoint_gets_a_boost() -> None:
    (body,) = planned(seen(SCHEDULING, workload()), 900).annotations  # 2 x 900 = 3 units
    assert body == {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "Workload",
        "metadata": {
            "namespace": "default",
            "name": "tiny-0",
            "uid": "w",
            "annotations": {KEY: "2", contract.ANNOTATION_BOOST_TIME: at(900).isoformat()},
        },
    }


def test_a_checkpoint_takes_it_away() -> None:
    before = workload(**{KEY: "2", contract.ANNOTATION_BOOST_TIME: at(900).isoformat()})
    assert planned(seen(SCHEDULING, before, saved=910, now=920), 920).annotations == (), "not within the minute"
    (body,) = planned(seen(SCHEDULING, before, saved=910, now=961), 961).annotations
    assert body["metadata"]["annotations"][KEY] == "0"


@pytest.mark.parametrize(
    ("observation", "why"),
    [
        (seen({"gang": "Kueue", "queueName": "team"}, workload()), "not asked for"),
        (seen(SCHEDULING), "Kueue has made no Workload yet"),
        (seen(SCHEDULING, workload(), steps=False), "nothing is trained that could be lost"),
        (seen(SCHEDULING, workload(), saved=899), "just saved"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_else_nothing_is_written(observation: Observed, why: str) -> None:
    assert planned(observation, 900).annotations == (), why


def test_the_next_level_is_looked_for_when_it_is_due() -> None:
    observation = seen(SCHEDULING, workload(), now=300)
    waits = priority_boost.stake_of(1) / 2
    requeue = planned(observation, waits - 3).requeue_after
    assert requeue is not None
    assert requeue <= 3
    assert planned(observation, waits).annotations != ()


@pytest.mark.parametrize("text", ["", "many", "9" * 40])
def test_what_somebody_else_wrote_is_written_over(text: str) -> None:
    (body,) = planned(seen(SCHEDULING, workload(**{KEY: text})), 900).annotations
    assert body["metadata"]["annotations"][KEY] in {"2", "5"}


# ---- what it saves -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_in_a_trace_of_100_jobs_preemptions_lose_less_than_half(seed: int) -> None:
    without, _ = lost_node_seconds(100, 12, 0, seed)
    boosted, jobs = lost_node_seconds(100, 12, 10, seed)
    assert without > 0
    assert boosted <= 0.5 * without
    for job in jobs:
        assert len(job.writes) <= 12 * 3600 / INTERVAL_SECONDS
