"""What the kubelet and Prometheus read."""

import aiohttp
from prometheus_client import CollectorRegistry

from builders import NOW
from neuron_api.reasons import Reason
from neuron_api.status import CheckpointStatus, JobStatus, Phase, ProgressStatus, Restart, Rung
from neuron_operator import health
from neuron_operator.health import Vitals
from neuron_operator.metrics import Metrics

from .fakes import Clock


def test_a_loop_that_stands_still_and_a_queue_that_nobody_empties_are_illnesses() -> None:
    clock, waits = Clock(), [0.0]
    vitals = Vitals(clock, lambda: waits[0])
    vitals._beat = clock.now
    assert vitals.illness() == ""
    clock.now += health.LAG_LIMIT + 1
    assert "event loop" in vitals.illness()
    vitals._beat = clock.now
    waits[0] = health.WAIT_LIMIT + 1
    assert "waited 301 s for a worker" in vitals.illness()


async def test_the_three_paths_answer_by_the_state_of_the_process() -> None:
    clock = Clock()
    vitals = Vitals(clock)
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


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_jobs_are_counted_by_phase_and_told_by_their_numbers_until_they_are_gone() -> None:
    metrics = Metrics()
    status = JobStatus(
        phase=Phase.RUNNING,
        progress=ProgressStatus(step=7, tokens_per_second=3.5),
        checkpoint=CheckpointStatus(step=5, path="/c", time=NOW),
        steps_lost=2,
    )
    metrics.job_changed("ns", "a", JobStatus(), status)
    where = {"namespace": "ns", "job": "a"}
    assert value(metrics, "neuron_training_jobs", phase="Running") == 1
    assert value(metrics, "neuron_training_jobs", phase="Failed") == 0
    assert value(metrics, "neuron_training_step", **where) == 7
    assert value(metrics, "neuron_training_tokens_per_second", **where) == 3.5
    assert value(metrics, "neuron_training_checkpoint_step", **where) == 5
    assert value(metrics, "neuron_training_steps_lost", **where) == 2
    metrics.job_gone("ns", "a")
    assert value(metrics, "neuron_training_jobs", phase="Running") == 0
    assert value(metrics, "neuron_training_step", **where) is None


def test_restarts_are_counted_by_cause_from_the_first_sight_on() -> None:
    metrics = Metrics()
    entries = tuple(
        Restart(rung=rung, cause=cause, time=NOW)
        for rung, cause in ((Rung.PROCESS, Reason.PROCESS_KILLED), (Rung.POD, Reason.POD_DELETED))
    )
    before = JobStatus(restarts=entries[:1], restart_count=1)
    after = JobStatus(restarts=entries, restart_count=2)
    metrics.job_changed("ns", "a", before, before)
    metrics.job_changed("ns", "a", before, after)
    metrics.job_changed("ns", "a", after, after)
    labels = {"namespace": "ns", "job": "a"}
    assert value(metrics, "neuron_training_restarts_total", **labels, rung="Pod", cause="PodDeleted") == 1
    assert value(metrics, "neuron_training_restarts_total", **labels, rung="Process", cause="ProcessKilled") is None
    metrics.job_gone("ns", "a")
    assert value(metrics, "neuron_training_restarts_total", **labels, rung="Pod", cause="PodDeleted") is None
