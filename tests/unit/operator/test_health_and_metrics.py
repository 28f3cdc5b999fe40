"""What the kubelet and Prometheus read."""

import aiohttp
from prometheus_client import CollectorRegistry

from builders import NOW, at, make_job
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import (
    CheckpointStatus,
    Condition,
    ConditionStatus,
    CountedFailure,
    JobStatus,
    Phase,
    PodStatus,
    ProgressStatus,
    Restart,
    RestartScope,
    TopologyStatus,
)
from neuron_operator.monitoring import health
from neuron_operator.monitoring.health import HealthState
from neuron_operator.monitoring.metrics import RESULTS, Metrics

from .fakes import Clock


def test_a_loop_that_stands_still_and_a_queue_that_nobody_empties_are_illnesses() -> None:
    clock, waits = Clock(), [0.0]
    vitals = HealthState(clock, lambda: waits[0])
    vitals._beat = clock.now
    assert vitals.illness() == ""
    clock.now += health.LAG_LIMIT + 1
    assert "event loop" in vitals.illness()
    vitals._beat = clock.now
    waits[0] = health.WAIT_LIMIT + 1
    assert "waited 301 s for a worker" in vitals.illness()


async def test_the_three_paths_answer_by_the_state_of_the_process() -> None:
    clock = Clock()
    vitals = HealthState(clock)
    vitals._beat = clock.now
    async with (
        health.serve(vitals, CollectorRegistry(), "127.0.0.1", 0) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):

        async def status(path: str) -> int:
            async with session.get(path) as answer:
                return answer.status

        assert [await status(path) for path in ("/livez", "/readyz", "/metrics")] == [200, 503, 200]
        vitals.is_started = True
        clock.now += health.LAG_LIMIT + 1
        assert [await status(path) for path in ("/livez", "/readyz")] == [500, 200]


async def test_a_warning_is_a_second_line_of_readyz_and_no_reason_to_be_unready() -> None:
    vitals = HealthState(Clock(), warning=lambda: "Apply the CRD.", is_started=True)
    async with (
        health.serve(vitals, CollectorRegistry(), "127.0.0.1", 0) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
        session.get("/readyz") as answer,
    ):
        assert (answer.status, await answer.text()) == (200, "ok\nApply the CRD.\n")


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_job_is_exported_with_its_numbers_until_it_is_gone() -> None:
    """The budget is what counts now: within the window, without hangs, which have a budget of their own."""
    metrics = Metrics(clock=lambda: at(30))
    job = make_job().restart_policy(maxGangRestarts=5, windowSeconds=3600).build()
    counted = ((Reason.POD_FAILED, -3600), (Reason.HANG, 1), (Reason.OUT_OF_MEMORY, 2))
    failures = tuple(CountedFailure(cause=cause, time=at(seconds)) for cause, seconds in counted)
    stalled = Condition(
        type=ConditionType.STALLED, status=ConditionStatus.TRUE, reason=Reason.CLAIM_NOT_FOUND, last_transition_time=NOW
    )
    status = JobStatus(
        phase=Phase.RUNNING,
        conditions=(stalled,),
        progress=ProgressStatus(
            step=7,
            max_steps=9,
            loss=2.5,
            tokens_per_second=3.5,
            mfu=0.4,
            last_step_time=at(60),
            estimated_completion_time=at(99),
        ),
        checkpoint=CheckpointStatus(step=5, path="/c", time=NOW),
        steps_lost=2,
        restart_count=3,
        start_time=at(-5),
        gang_failures=4,
        counted_failures=failures,
        goodput=0.75,
    )
    metrics.job_changed(job, status)
    where = {"training_namespace": "team", "training_job": "tiny"}
    expected = {
        "step": 7, "max_steps": 9, "loss": 2.5, "tokens_per_second": 3.5, "checkpoint_step": 5, "steps_lost_total": 2,
        "restarts_total": 3, "mfu_ratio": 0.4, "start_timestamp_seconds": NOW.timestamp() - 5,
        "checkpoint_timestamp_seconds": NOW.timestamp(), "last_step_timestamp_seconds": NOW.timestamp() + 60,
        "restart_budget_used": 1, "restart_budget_limit": 5, "goodput_ratio": 0.75,
        "estimated_completion_timestamp_seconds": NOW.timestamp() + 99,
    }  # fmt: skip
    assert {name: value(metrics, f"neuron_training_{name}", **where) for name in expected} == expected
    state = {"phase": "Running", "condition": "Stalled", "reason": "ClaimNotFound"}
    assert value(metrics, "neuron_training_job_state", **where, **state) == 1
    metrics.job_gone("team", "tiny")
    assert value(metrics, "neuron_training_step", **where) is None
    assert value(metrics, "neuron_training_job_state", **where, **state) is None


def test_ready_nodes_are_told_beside_the_wanted_ones() -> None:
    metrics, job = Metrics(), make_job().nodes(2).build()
    pods = tuple(PodStatus(name=name, uid=name, ready=name == "a") for name in "ab")
    metrics.job_changed(job, JobStatus(topology=topology(2), pods=pods))
    where = {"training_namespace": "team", "training_job": "tiny"}
    assert value(metrics, "neuron_training_nodes", **where) == 2
    assert value(metrics, "neuron_training_nodes_ready", **where) == 1


def topology(nodes: int) -> TopologyStatus:
    return TopologyStatus(
        nodes=nodes, processes_per_node=1, world_size=nodes, tensor_parallel=1, data_parallel=nodes, micro_batches=1
    )


def test_restarts_are_counted_by_cause_from_the_first_sight_on_and_once_if_the_write_failed() -> None:
    metrics = Metrics()
    entries = tuple(
        Restart(restart_scope=scope, cause=cause, time=NOW)
        for scope, cause in ((RestartScope.PROCESS, Reason.PROCESS_KILLED), (RestartScope.POD, Reason.POD_DELETED))
    )
    before = make_job().status(JobStatus(restarts=entries[:1], restart_count=1)).build()
    after = JobStatus(restarts=entries, restart_count=2)
    metrics.job_changed(before, before.status)
    metrics.job_changed(before, after)
    metrics.job_changed(before, after)  # a conflict: the same job is read, decided about and told again
    labels = {"training_namespace": "team", "training_job": "tiny"}
    assert (
        value(metrics, "neuron_training_restarts_by_cause_total", **labels, restart_scope="Pod", cause="PodDeleted")
        == 1
    )
    assert (
        value(
            metrics, "neuron_training_restarts_by_cause_total", **labels, restart_scope="Process", cause="ProcessKilled"
        )
        is None
    )
    metrics.job_gone("team", "tiny")
    assert (
        value(metrics, "neuron_training_restarts_by_cause_total", **labels, restart_scope="Pod", cause="PodDeleted")
        is None
    )


def test_a_recovery_is_told_once_by_its_seconds_and_the_steps_that_it_cost() -> None:
    metrics = Metrics()
    fault = Restart(restart_scope=RestartScope.POD, cause=Reason.NODE_LOST, time=NOW)
    done = fault.model_copy(update={"recovered_time": at(12), "recovery_seconds": 12.0, "steps_lost": 7})
    job = make_job().status(JobStatus(restarts=(fault,), restart_count=1)).build()
    metrics.job_changed(job, job.status)
    for _ in range(2):
        metrics.job_changed(job, JobStatus(restarts=(done,), restart_count=1))
    labels = {"training_namespace": "team", "training_job": "tiny", "restart_scope": "Pod"}
    assert value(metrics, "neuron_training_recovery_duration_seconds_count", **labels) == 1
    assert value(metrics, "neuron_training_recovery_duration_seconds_sum", **labels) == 12
    assert value(metrics, "neuron_training_steps_lost_by_cause_total", **labels, cause="NodeLost") == 7
    metrics.job_gone("team", "tiny")
    assert value(metrics, "neuron_training_recovery_duration_seconds_count", **labels) is None
    assert value(metrics, "neuron_training_steps_lost_by_cause_total", **labels, cause="NodeLost") is None


def test_the_wait_from_apply_to_pods_is_told_when_the_last_pod_of_the_first_attempt_is_there() -> None:
    metrics = Metrics(clock=lambda: at(3))
    job = make_job().nodes(2).build()
    pods = tuple(PodStatus(name=name, uid=name) for name in "ab")
    for some in ((), pods[:1], pods, pods):
        metrics.job_changed(job, JobStatus(topology=topology(2), pods=some))
    metrics.job_changed(job, JobStatus(topology=topology(2), attempt=1))
    metrics.job_changed(job, JobStatus(topology=topology(2), attempt=1, pods=pods))
    assert value(metrics, "neuron_operator_pod_creation_duration_seconds_count") == 1
    assert value(metrics, "neuron_operator_pod_creation_duration_seconds_sum") == 3


def test_the_age_of_the_watch_is_told_by_the_one_that_watches() -> None:
    assert value(Metrics(watch_age=lambda: 4.0), "neuron_operator_watch_age_seconds") == 4
    assert value(Metrics(), "neuron_operator_watch_age_seconds") is None


def test_a_counter_begins_at_zero_where_its_first_increase_sets_off_an_alert() -> None:
    """Kind: `increase()` of a series that begins with its first event is 0, so the alert misses that event."""
    for result in RESULTS:
        assert value(Metrics(), "neuron_operator_reconcile_duration_seconds_count", result=result) == 0


def test_each_replica_names_the_lease_that_it_holds_or_waits_for() -> None:
    for held in (True, False):
        metrics = Metrics(is_leader=lambda held=held: held, lease=("system", "ours"))  # type: ignore[misc]
        assert value(metrics, "neuron_operator_is_leader", lease_namespace="system", lease="ours") == held
