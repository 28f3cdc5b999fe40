"""Whatever happens: a deadline ends a job when it is over and not before; what is kept is kept so long, and then goes.

The operator sleeps until the time that a plan names, so each plan must name the next deadline or an earlier time.
"""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import make_job
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import JobStatus, Phase
from unit.operator.simulation import Cluster
from unit.operator.stories import Event, converge, finish, happen, settle_down

EVENTS = (
    *("delete", "vanish", "exit 1", "exit 143", "fail", "step", "checkpoint", "kubelet", "suspend", "unsuspend"),
    *("reconcile", "reconcile", "kill", "conflict", "go on", "go on", "claim", "exit 0", "exit 3", "finish"),
)
STORY = st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 3)), max_size=40)
SECONDS = st.integers(1, 3000)
DEADLINES = (Reason.DEADLINE_EXCEEDED, Reason.FIRST_STEP_DEADLINE_EXCEEDED)


def story_of(job: dict[str, object], story: list[Event]) -> Cluster:
    """Two pods that live through it; every plan on the way looks again in time."""
    cluster = Cluster(make_job().nodes(2).restart_policy(maxGangRestarts=9).spec(**job).build())
    for name, number in story:
        happen(cluster, name, number)
        assert_ends_no_sooner_than_its_deadline(cluster)
        assert_looks_again_in_time(cluster)
    return cluster


def reason_of_the_end(status: JobStatus) -> Reason | None:
    (failed,) = [one for one in status.conditions if one.type is ConditionType.FAILED]
    return failed.reason if status.phase is Phase.FAILED else None


def seconds_of(cluster: Cluster) -> float:
    """How long the job ran, without suspensions: to its end, or to now."""
    status = cluster.status
    assert status.start_time is not None
    until = status.completion_time or cluster.now
    return (until - status.start_time).total_seconds() - status.suspended_seconds


def assert_ends_no_sooner_than_its_deadline(cluster: Cluster) -> None:
    if not cluster.status.finished:
        return
    spec, reason = cluster.job.spec, reason_of_the_end(cluster.status)
    if reason is Reason.DEADLINE_EXCEEDED:
        assert seconds_of(cluster) >= (spec.active_deadline_seconds or 0) > 0
    if reason is Reason.FIRST_STEP_DEADLINE_EXCEEDED:
        assert seconds_of(cluster) >= (spec.startup_policy.first_step_seconds or 0) > 0


def assert_looks_again_in_time(cluster: Cluster) -> None:
    planned, worked = cluster.reconcile()
    status, spec = cluster.status, cluster.job.spec
    if worked or cluster.deleted_job:
        return
    due = None
    if status.finished and status.completion_time and spec.ttl_seconds_after_finished is not None:
        due = spec.ttl_seconds_after_finished - (cluster.now - status.completion_time).total_seconds()
    stopping = status.suspension is not None and status.suspension.stop_time is not None
    if not status.finished and status.start_time and spec.active_deadline_seconds and not stopping:
        due = spec.active_deadline_seconds - seconds_of(cluster)
        assert due > 0, "its deadline is over and nothing was done"
    if due is not None and due > 0:
        assert planned.requeue_after is not None, f"nobody looks again when {due} s are over"
        assert planned.requeue_after <= due + 0.001


def thorough(examples: int) -> settings:
    return settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.slow
@thorough(40)
@given(SECONDS, st.none() | SECONDS, STORY)
def test_a_job_is_over_when_its_time_is_and_not_before(whole: int, first_step: int | None, story: list[Event]) -> None:
    bound = {"firstStepSeconds": first_step} if first_step else {}
    cluster = story_of({"activeDeadlineSeconds": whole, "startupPolicy": bound}, story)
    cluster.suspend(wanted=False)
    cluster.claim_missing = False
    settle_down(cluster)
    cluster.now += timedelta(seconds=whole)
    settle_down(cluster)
    assert cluster.status.finished
    assert_ends_no_sooner_than_its_deadline(cluster)
    assert not [pod for pod in cluster.pods.values() if pod.alive]
    ended = cluster.status
    cluster.now += timedelta(days=400)
    settle_down(cluster)
    assert cluster.status == ended, "what is over changes"


@pytest.mark.slow
@thorough(40)
@given(st.integers(0, 30000), st.sampled_from(["Children", "Job"]), STORY)
def test_what_a_job_leaves_is_kept_so_long_and_then_goes(kept: int, scope: str, story: list[Event]) -> None:
    cluster = story_of(
        {"ttlSecondsAfterFinished": kept, "ttlDeletionPolicy": scope, "activeDeadlineSeconds": 3000}, story
    )
    cluster.claim_missing = False
    finish(cluster)
    cluster.now += timedelta(seconds=3000)
    settle_down(cluster)
    ended = cluster.status
    assert ended.finished
    assert ended.completion_time is not None
    cluster.now = max(cluster.now, ended.completion_time + timedelta(seconds=kept - 0.5))
    cluster.reconcile()  # Half a second before its time nothing may go: the cluster says so.
    cluster.now += timedelta(seconds=1)
    settle_down(cluster)
    assert cluster.status == ended, "the status tells how the job ended, and stays"
    assert not cluster.applied
    assert cluster.deleted_job is (scope == "Job")
    assert cluster.deleted_job or not cluster.pods


@pytest.mark.parametrize(("seconds", "over"), [(59, False), (61, True)])
def test_time_in_which_a_job_was_suspended_does_not_count(seconds: int, over: bool) -> None:
    cluster = Cluster(make_job().nodes(2).spec(activeDeadlineSeconds=3600).build())
    settle_down(cluster)
    cluster.suspend(wanted=True)
    settle_down(cluster)
    assert cluster.status.phase is Phase.SUSPENDED
    cluster.now += timedelta(days=30)
    converge(cluster)
    assert cluster.status.phase is Phase.SUSPENDED
    cluster.suspend(wanted=False)
    cluster.reconcile()
    assert seconds_of(cluster) < 3540
    cluster.now += timedelta(seconds=3540 + seconds - seconds_of(cluster))
    cluster.reconcile()
    cluster.reconcile()
    assert (reason_of_the_end(cluster.status) is Reason.DEADLINE_EXCEEDED) is over
