"""Whatever happens in whatever order, and wherever the operator is killed: a job converges, and tells the truth."""

from collections import Counter
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import NOW
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import ConditionStatus, JobStatus, Phase, RestartScope
from unit.operator.simulation import Cluster
from unit.operator.stories import Event, converge, finish, happen, settle_down

DISRUPTIONS = ("delete", "evict", "evict by kubelet", "lose node", "vanish", "exit 143")
FAULTS = ("exit 1", "exit 137", "out of memory")
TRAINING = ("fail", "fail", "step", "step", "checkpoint", "rendezvous", "exit 0", "exit 0", "mute")
CLUSTER = ("kubelet", "kubelet", "start", "claim", "hang", "hardware", "crash", "sick", "silent", "answer")
USER = ("suspend", "suspend", "unsuspend", "unsuspend")
OPERATOR = ("reconcile", "reconcile", "reconcile", "kill", "kill", "conflict", "behind", "behind", "behind")
ALL = (
    *DISRUPTIONS,
    *FAULTS,
    *TRAINING,
    *CLUSTER,
    *USER,
    *OPERATOR,
    "exit 2",
    "exit 3",
    "go on",
    "go on",
    "go on",
    "finish",
)
RESTARTS = (
    *("fail", "fail", "fail", "step", "step", "rendezvous", "rendezvous", "kubelet", "checkpoint", "mute"),
    *("hardware", "crash", "sick", "vanish", "delete", "exit 143", "exit 1"),
    *("reconcile", "reconcile", "kill", "conflict", "behind", "behind", "behind", "go on", "go on"),
)
"""What a gang lives through that never ends."""


def thorough(examples: int) -> settings:
    """So many stories; on a slow machine they are as many, and take longer."""
    return settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])


def event(names: tuple[str, ...]) -> st.SearchStrategy[Event]:
    return st.tuples(st.sampled_from(names), st.integers(0, 3))


def events(names: tuple[str, ...]) -> st.SearchStrategy[list[Event]]:
    return st.lists(event(names), min_size=12, max_size=60)


def condition_is_true(status: JobStatus, kind: ConditionType) -> bool:
    found = [condition for condition in status.conditions if condition.type is kind]
    assert len(found) == 1, f"{kind} is told {len(found)} times"
    return found[0].status is ConditionStatus.TRUE


def assert_tells_no_contradiction(status: JobStatus) -> None:
    true = {kind for kind in ConditionType if condition_is_true(status, kind)}
    assert len(true & {ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED}) == 1
    assert (status.phase is Phase.SUCCEEDED) == (ConditionType.SUCCEEDED in true)
    assert (status.phase is Phase.FAILED) == (ConditionType.FAILED in true)
    assert (ConditionType.READY in true) == (status.phase in (Phase.RUNNING, Phase.SUSPENDED, Phase.SUCCEEDED))
    assert (status.phase is Phase.SUSPENDED) <= (ConditionType.SUSPENDED in true)
    assert ConditionType.STALLED in true or status.phase is not Phase.FAILED
    if status.phase is Phase.RUNNING:
        assert {ConditionType.CONFIG_VALID, ConditionType.PROGRESSING} <= true
    if status.phase is Phase.RESTARTING:
        assert ConditionType.RESTARTING in true
    if ConditionType.SUSPENDED in true:
        assert not true & UNDER_WAY
    if status.finished:
        assert not true & {*UNDER_WAY, ConditionType.SUSPENDED}
        assert status.completion_time is not None


UNDER_WAY = {ConditionType.PODS_READY, ConditionType.PROGRESSING, ConditionType.RESTARTING}


def assert_history_only_goes_forward(history: list[JobStatus]) -> None:
    for before, after in pairwise(history):
        assert after.attempt >= before.attempt
        assert after.restart_count >= before.restart_count
        assert after.gang_failures >= before.gang_failures
        own = [one for one in after.counted_failures if one.cause is not Reason.HANG]
        assert len(own) == after.gang_failures, "without a window all of them count"
        assert after.suspended_seconds >= before.suspended_seconds
        assert after.steps_lost >= before.steps_lost
        if before.finished:
            assert after == before, "a job that is over changes"


def assert_ledger_is_true(cluster: Cluster) -> None:
    status, policy = cluster.status, cluster.job.spec.restart_policy
    entries = status.restarts
    assert len(entries) == min(status.restart_count, 64)
    assert status.gang_failures <= policy.max_gang_restarts
    assert status.gang_failures <= cluster.counted, "a disruption is counted"
    assert len([entry for entry in entries if entry.cause is Reason.HANG]) <= cluster.hung, "a hang is made up"
    uids = Counter(entry.pod_uid for entry in entries if entry.restart_scope is not RestartScope.PROCESS and entry.pod)
    assert not [uid for uid, times in uids.items() if times > 1], "a lost pod is told twice"
    truth = {(failed.pod, failed.time): failed for failed in cluster.failed}
    told = [(entry.pod_uid, entry.time) for entry in entries if entry.restart_scope is RestartScope.PROCESS]
    assert len(told) == len(set(told)), "a failed process is told twice"
    victims = [one for one in told if one not in truth]
    for pod, time in victims:
        assert [one for one in cluster.failed if one.pod != pod and one.time <= time], "a failure is made up"
    assert status.steps_lost == sum(entry.steps_lost or 0 for entry in entries)
    for entry in entries:
        if entry.recovered_time:
            assert entry.recovered_time > entry.time
            assert entry.recovery_seconds > 0
        assert entry.detection_seconds is None or entry.detection_seconds >= 0
    assert status.goodput is None or 0 <= status.goodput <= 1
    estimated = status.progress.estimated_completion_time if status.progress else None
    assert estimated is None or status.phase is Phase.RUNNING, "an end is estimated of a job that does not train"


def assert_exclusions_are_just(cluster: Cluster) -> None:
    status = cluster.status
    assert len(status.excluded_nodes) <= 1, "of at most three nodes one is excluded"
    for one in status.excluded_nodes:
        assert one.node in cluster.at_fault, "the node of a victim is excluded"
        assert one.expiration_time > one.exclusion_time
        assert one.reason in (Reason.HARDWARE_FAULT, Reason.REPEATED_FAILURES)


def assert_unplaced_pods_avoid_what_they_should(cluster: Cluster) -> None:
    """At a fixed point."""
    excluded = {one.hostname for one in cluster.status.excluded_nodes}
    if not cluster.status.finished:
        for pod in cluster.pods.values():
            assert pod.node or pod.away == excluded


def assert_nothing_is_forgotten(cluster: Cluster) -> None:
    """At a fixed point with every launcher answering."""
    status = cluster.status
    if status.finished or len(status.restarts) == 64:
        return
    told = {entry.pod_uid for entry in status.restarts if entry.restart_scope is not RestartScope.PROCESS}
    gangs = {entry.attempt for entry in status.restarts if entry.restart_scope is RestartScope.GANG}
    for uid, attempt in cluster.lost.items():
        assert uid in told or attempt in gangs, f"the loss of pod {uid} is not told"
    living = {pod.uid for pod in cluster.pods.values() if pod.alive}
    for failed in cluster.to_tell:
        if failed.attempt != status.attempt or not {failed.host, failed.pod} <= living:
            continue
        same = [entry for entry in status.restarts if entry.attempt == failed.attempt and entry.round == failed.round]
        assert same, f"{failed} is not told"


def assert_one_pod_per_place(cluster: Cluster) -> None:
    status = cluster.status
    live = [pod for pod in cluster.pods.values() if not pod.over]
    if status.finished:
        assert not live, "pods of a job that is over go on"
        return
    if cluster.job.spec.suspend:
        assert not live, "pods of a suspended job go on"
        assert status.phase is Phase.SUSPENDED
        return
    if status.checkpoint_gate:
        assert not live, "pods of a job that stands still go on"
        assert condition_is_true(status, ConditionType.STALLED)
        return
    assert {pod.attempt for pod in cluster.pods.values()} <= {status.attempt}
    succeeded = {index for index, record in enumerate(status.pods) if record.succeeded}
    places = Counter(pod.index for pod in live)
    assert all(times == 1 for times in places.values())
    if not cluster.claim_missing:
        assert set(places) == set(range(cluster.size)) - succeeded


def assert_converges_truly(nodes: int, budget: int, story: list[Event]) -> Cluster:
    cluster = Cluster.of(nodes, max_gang_restarts=budget)
    for name, number in story:
        happen(cluster, name, number)
        if cluster.history:
            assert_tells_no_contradiction(cluster.status)
            assert_ledger_is_true(cluster)
            assert_exclusions_are_just(cluster)
    cluster.reports_reachable()
    cluster.all_answer()
    converge(cluster)
    settle_down(cluster)
    assert_nothing_is_forgotten(cluster)
    assert_exclusions_are_just(cluster)
    assert_unplaced_pods_avoid_what_they_should(cluster)
    assert_one_pod_per_place(cluster)
    assert_tells_no_contradiction(cluster.status)
    assert_ledger_is_true(cluster)
    assert_history_only_goes_forward(cluster.history)
    return cluster


@pytest.mark.slow
@thorough(120)
@given(st.integers(1, 3), st.integers(0, 2), events(ALL))
def test_any_history_converges_and_is_told_truly(nodes: int, budget: int, story: list[Event]) -> None:
    assert_converges_truly(nodes, budget, story)


@pytest.mark.slow
@thorough(120)
@given(st.integers(2, 3), events(RESTARTS))
def test_processes_and_pods_that_fail_in_turn_are_told_once_and_truly(nodes: int, story: list[Event]) -> None:
    assert_converges_truly(nodes, 9, [("go on", 0), *story])


HAPPENINGS = tuple(name for name in ALL if name not in (*OPERATOR, "go on", "finish", "mute", "kubelet", "start"))


def outcome(cluster: Cluster) -> tuple[object, ...]:
    status = cluster.status
    ledger = [
        (entry.restart_scope, entry.cause, entry.attempt, entry.pod, entry.round, entry.rank)
        for entry in status.restarts
    ]
    reasons = [(condition.type, condition.status, condition.reason) for condition in status.conditions]
    return status.phase, status.attempt, status.gang_failures, status.restart_count, ledger, reasons, status.steps_lost


@pytest.mark.slow
@thorough(50)
@given(st.integers(1, 3), st.lists(st.tuples(event(HAPPENINGS), st.lists(st.integers(0, 4), max_size=6)), max_size=12))
def test_an_operator_killed_at_any_point_changes_nothing(nodes: int, story: list[tuple[Event, list[int]]]) -> None:
    def live(*, kills: bool) -> Cluster:
        cluster = Cluster.of(nodes)
        for (name, number), where in story:
            happen(cluster, name, number)
            for _ in range(3):
                converge(cluster, where if kills else None)
                cluster.kubelet()
                converge(cluster, where if kills else None)
            cluster.finish_step()
            converge(cluster)
        finish(cluster)
        return cluster

    assert outcome(live(kills=True)) == outcome(live(kills=False))


@pytest.mark.slow
@thorough(50)
@given(events((*DISRUPTIONS, "go on", "reconcile", "kill", "kubelet")))
def test_disruptions_alone_never_end_a_job(story: list[Event]) -> None:
    cluster = Cluster.of(2, max_gang_restarts=0)
    for name, number in story:
        happen(cluster, name, number)
    finish(cluster)
    finish(cluster)
    assert cluster.status.phase is Phase.SUCCEEDED
    assert cluster.status.gang_failures == 0


@pytest.mark.slow
@pytest.mark.parametrize("budget", [0, 1, 3])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_pod_that_fails_again_and_again_ends_the_job_after_its_budget(fault: str, budget: int) -> None:
    cluster = Cluster.of(2, max_gang_restarts=budget)
    for _ in range(budget + 2):
        settle_down(cluster)
        cluster.finish_step()  # Another step each time: not one and the same crash.
        cluster.save_checkpoint()
        happen(cluster, fault, 1)
    settle_down(cluster)
    assert cluster.status.phase is Phase.FAILED
    assert cluster.status.restart_count == budget
    reasons = {c.reason for c in cluster.status.conditions if c.type is ConditionType.FAILED}
    assert reasons == {Reason.BUDGET_EXHAUSTED}
    assert not [pod for pod in cluster.pods.values() if pod.alive]


@pytest.mark.parametrize("fault", ["crash", "exit 1", "out of memory"])
def test_three_failures_at_one_step_end_the_job_whatever_was_restarted_and_whatever_its_budget(fault: str) -> None:
    cluster = Cluster.of(2, max_gang_restarts=9)
    settle_down(cluster)
    cluster.finish_step()
    cluster.save_checkpoint()
    for times in range(3):
        settle_down(cluster)
        assert cluster.status.phase is not Phase.FAILED, times
        if fault == "crash":
            happen(cluster, "delete", 0)
            settle_down(cluster)
        happen(cluster, fault, 1)
    settle_down(cluster)
    assert cluster.status.phase is Phase.FAILED
    (failed,) = [c for c in cluster.status.conditions if c.type is ConditionType.FAILED]
    assert failed.reason is Reason.SAME_STEP_CRASH
    assert "3 failures after step 1," in failed.message
    assert not [pod for pod in cluster.pods.values() if pod.alive]


def test_a_node_whose_hardware_fails_is_left_and_avoided_until_its_time_is_over() -> None:
    cluster = Cluster.of(2, max_gang_restarts=0)
    settle_down(cluster)
    cluster.finish_step()
    happen(cluster, "hardware", 1)
    settle_down(cluster)
    (one,) = cluster.status.excluded_nodes
    assert (one.node, one.reason) == ("node-1", Reason.HARDWARE_FAULT)
    assert {pod.node for pod in cluster.pods.values()} == {"node-0", "node-2"}
    assert [(e.restart_scope, e.cause, e.neuron_code) for e in cluster.status.restarts] == [
        (RestartScope.PROCESS, Reason.HARDWARE_FAULT, 1202),
        (RestartScope.POD, Reason.HARDWARE_FAULT, 1202),
    ]
    assert cluster.status.gang_failures == 0
    cluster.now += timedelta(days=2)
    finish(cluster)
    assert cluster.status.phase is Phase.SUCCEEDED
    assert not cluster.status.excluded_nodes


def test_a_node_that_says_it_is_sick_is_left_after_a_failure_that_says_nothing() -> None:
    cluster = Cluster.of(2, max_gang_restarts=0)
    settle_down(cluster)
    happen(cluster, "sick", 1)
    settle_down(cluster)
    assert not cluster.status.excluded_nodes, "nobody asks about nodes whose pods are well"
    happen(cluster, "fail", 1)
    settle_down(cluster)
    assert [one.node for one in cluster.status.excluded_nodes] == ["node-1"]
    finish(cluster)
    assert cluster.status.phase is Phase.SUCCEEDED


@pytest.mark.slow
@thorough(50)
@given(events((*USER, "go on", "reconcile", "kill", "kubelet", "checkpoint", "step")))
def test_suspensions_alone_never_end_a_job_nor_cost_a_part_of_its_budget(story: list[Event]) -> None:
    cluster = Cluster.of(2, max_gang_restarts=0)
    for name, number in story:
        happen(cluster, name, number)
    finish(cluster)
    finish(cluster)
    assert cluster.status.phase is Phase.SUCCEEDED
    assert cluster.status.gang_failures == 0
    assert {entry.cause for entry in cluster.status.restarts} <= {Reason.SUSPENDED}


@pytest.mark.slow
@pytest.mark.parametrize("hangs", [1, 3, 4])
def test_a_gang_that_hangs_is_replaced_until_its_own_budget_is_used_up(hangs: int) -> None:
    cluster = Cluster.of(2, max_gang_restarts=0)
    for _ in range(hangs):
        settle_down(cluster)
        cluster.hangs()
    finish(cluster)
    causes = [entry.cause for entry in cluster.status.restarts]
    assert causes == [Reason.HANG] * min(hangs, cluster.job.spec.hang_policy.max_restarts)
    assert cluster.status.phase is (Phase.SUCCEEDED if hangs <= 3 else Phase.FAILED)
    assert cluster.status.gang_failures == 0


def test_an_undisturbed_job_succeeds_without_a_restart() -> None:
    cluster = Cluster.of(3)
    finish(cluster)
    assert cluster.status.phase is Phase.SUCCEEDED
    assert cluster.status.restart_count == 0
    assert cluster.status.start_time is not None
    assert cluster.status.start_time > NOW
