"""What a lost pod or a failed process leads to, on a real API server."""

import time
from dataclasses import replace
from datetime import timedelta
from typing import cast

import pytest

from neuron_api.resource.progress import ProcessFailure, Progress, Recovery, TrainerPhase, final_report
from neuron_api.resource.status import Phase, RestartScope
from neuron_operator.cache.idle_jobs import IdleTracker
from neuron_operator.kube import gateway as api
from neuron_operator.planning.observation.observation import Pod

from .world import JOB, World, utc


async def test_a_deleted_pod_is_replaced_alone_and_the_ledger_says_what_it_cost(world: World) -> None:
    await world.start()
    first = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in await world.pods()}
    world.kubectl("delete", "pod", f"{JOB}-0-1", "--grace-period=0", "--force")
    await world.reconcile()
    now = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in await world.pods()}
    assert now.keys() == first.keys()
    assert now[f"{JOB}-0-0"] == first[f"{JOB}-0-0"]
    assert now[f"{JOB}-0-1"] != first[f"{JOB}-0-1"]
    status = (await world.job()).status
    assert status.phase is Phase.RESTARTING
    assert [entry.restart_scope for entry in status.restarts] == [RestartScope.POD]

    await world.run(f"{JOB}-0-1")
    recovery = Recovery(round=1, resumed_from_step=20, steps_lost=3, first_step_time=utc() + timedelta(seconds=1))
    await world.report(24, round=1, recoveries=(recovery,))
    await world.reconcile()
    status = (await world.job()).status
    assert status.phase is Phase.RUNNING
    assert (status.restart_count, status.steps_lost, status.gang_failures) == (1, 3, 0)
    (entry,) = status.restarts
    assert entry.recovery_seconds is not None


async def test_a_failed_pod_is_replaced_in_one_pass_and_told_once(world: World) -> None:
    await world.start()
    failed = (await world.pods())[1]["metadata"]
    await world.kubelet(failed["name"], phase="Failed", reason="Evicted", containerStatuses=[])
    await world.controller().reconcile(world.key)
    now = (await world.pods())[1]["metadata"]
    assert (now["name"], now["uid"] != failed["uid"]) == (failed["name"], True)
    status = (await world.job()).status
    assert [(entry.restart_scope, entry.pod_uid) for entry in status.restarts] == [(RestartScope.POD, failed["uid"])]
    assert [record.uid for record in status.pods if record.name == now["name"]] == [now["uid"]]


async def test_the_name_of_a_failed_pod_that_cannot_vanish_yet_is_waited_for(world: World) -> None:
    """Somebody's finalizer holds it, which came after the look at the pods."""
    await world.start()
    failed = (await world.pods())[1]["metadata"]
    await world.kubelet(failed["name"], phase="Failed", reason="Evicted", containerStatuses=[])

    class Held:
        """The gateway, with somebody who is quicker than a deletion."""

        def __getattr__(self, verb: str) -> object:
            return getattr(world.cluster, verb)

        async def delete(self, kind: api.Kind, namespace: str, name: str, uid: str, **more: int | None) -> None:
            await world.cluster.patch(api.POD, held(name, "example.com/held"))
            await world.cluster.delete(kind, namespace, name, uid, **more)

    def held(name: str, *finalizers: str) -> dict[str, object]:
        return {"metadata": {"namespace": world.namespace, "name": name, "finalizers": list(finalizers)}}

    operator = world.controller(cast("api.Cluster", Held()))
    result = await operator.reconcile(world.key)
    assert (await world.pods())[1]["metadata"]["uid"] == failed["uid"]
    assert result.requeue_after is not None  # nobody promises an event
    assert [record.lost for record in (await world.job()).status.pods] == [False, True]
    await world.cluster.patch(api.POD, held(failed["name"]))
    await world.reconcile()
    assert (await world.pods())[1]["metadata"]["uid"] != failed["uid"]
    assert len((await world.job()).status.restarts) == 1


async def test_a_pod_that_is_lost_in_the_middle_of_a_pass_is_replaced_by_the_next(world: World) -> None:
    """After the look at the pods, so that the pass finds nothing new."""
    await world.start()

    class Reader:
        calls = 0

        async def read(self, pod: Pod) -> Progress | None:
            self.calls += 1
            if self.calls == 1:
                world.kubectl("delete", "pod", f"{JOB}-0-1", "--grace-period=0", "--force")
                stillness.end(world.key)  # as its event does
            return await world.reports.read(pod)

    reader = Reader()
    stillness = IdleTracker(reader, 5.0, time.monotonic)
    operator = replace(world.controller(reports=reader), idle_tracker=stillness)
    await operator.reconcile(world.key)
    assert await world.pod_names() == [f"{JOB}-0-0"]
    await world.reconcile(operator)
    assert await world.pod_names() == [f"{JOB}-0-0", f"{JOB}-0-1"]
    # And a job about which nothing is new is asked for its progress only.
    await world.run_all()
    await world.reconcile(operator)  # says so
    await world.reconcile(operator)  # finds nothing new
    assert stillness.is_current(world.key, (await world.job()).metadata.resource_version)


async def test_a_process_that_is_restarted_in_its_pod_is_told_with_rank_and_signal(world: World) -> None:
    await world.start()
    names = await world.pod_names()
    failure = ProcessFailure(time=utc(), round=0, rank=3, local_rank=1, exit_code=-9, step=27, message="")
    recovery = Recovery(round=1, resumed_from_step=20, steps_lost=7, first_step_time=utc() + timedelta(seconds=2))
    await world.report(28, round=1, failures=(failure,), recoveries=(recovery,))
    await world.reconcile()
    assert await world.pod_names() == names
    (entry,) = (await world.job()).status.restarts
    assert (entry.restart_scope, entry.rank, entry.exit_code, entry.message) == (RestartScope.PROCESS, 3, -9, "SIGKILL")
    assert (entry.steps_lost, entry.resumed_from_step) == (7, 20)


@pytest.mark.parametrize("others_ended", [False, True], ids=["one pod still runs", "all pods are over"])
async def test_a_process_that_failed_before_the_end_and_that_nobody_had_asked_for_is_told(
    others_ended: bool, world: World
) -> None:
    """The operator was away from before the failure until the training had ended (found by `make soak`)."""
    await world.start()
    failure = ProcessFailure(time=utc(), round=0, rank=3, local_rank=1, exit_code=-9, step=27, message="")
    recovery = Recovery(round=1, resumed_from_step=20, steps_lost=7, first_step_time=utc() + timedelta(seconds=2))
    await world.report(240, round=1, phase=TrainerPhase.SUCCEEDED, recoveries=(recovery,))
    first = world.reports.by_index.pop(0)
    other = first.model_copy(update={"pod_uid": (await world.pods())[1]["metadata"]["uid"], "node_rank": 1})
    other = other.model_copy(update={"recoveries": (), "failures": (failure,)})
    if others_ended:
        await world.end(f"{JOB}-0-1", 0, final_report(other))
    else:
        world.reports.by_index[1] = other
    await world.end(f"{JOB}-0-0", 0, final_report(first))
    await world.reconcile()
    (entry,) = (await world.job()).status.restarts
    assert (entry.restart_scope, entry.rank, entry.pod) == (RestartScope.PROCESS, 3, f"{JOB}-0-1")
    assert (entry.steps_lost, entry.recovered_time) == (7, recovery.first_step_time)
    assert (await world.job()).status.phase is (Phase.SUCCEEDED if others_ended else Phase.RUNNING)


async def test_a_launcher_that_gives_up_costs_the_whole_gang_until_the_budget_is_used_up(world: World) -> None:
    await world.start()
    for attempt in range(3):
        assert (await world.job()).status.attempt == attempt
        await world.end(f"{JOB}-{attempt}-1", 1, f"rank 3 failed at step {27 + attempt * 10}: boom\nRuntimeError: boom")
        await world.reconcile()
        for name in [n for n in await world.pod_names() if n.startswith(f"{JOB}-{attempt}-")]:
            world.kubectl("delete", "pod", name, "--grace-period=0", "--force", "--ignore-not-found")
        await world.reconcile()
        assert await world.pod_names() == [f"{JOB}-{attempt + 1}-0", f"{JOB}-{attempt + 1}-1"]
        await world.run_all()
        await world.report(21 + attempt)
        await world.reconcile()
    await world.end(f"{JOB}-3-1", 1, "RuntimeError: boom")
    await world.reconcile()
    status = (await world.job()).status
    assert (status.phase, status.gang_failures, status.attempt) == (Phase.FAILED, 3, 3)
    _, reason, message = await world.condition("Failed")
    assert reason == "BudgetExhausted"
    assert "restartPolicy.maxGangRestarts (3)" in message
    assert "boom" in message


async def test_exit_code_2_ends_the_job_with_the_launchers_own_words(world: World) -> None:
    await world.start()
    words = "data.train_dir: there is no directory /training/data. Write it with `neuron-train data prepare`."
    await world.end(f"{JOB}-0-0", 2, words)
    await world.reconcile()
    assert (await world.job()).status.phase is Phase.FAILED
    _, reason, message = await world.condition("Failed")
    assert reason == "TrainerRefusedConfig"
    assert words in message
    # The pod that still runs is ended; the one that failed stays for its logs.
    await world.reconcile()
    left = [pod for pod in await world.pods() if "deletionTimestamp" not in pod["metadata"]]
    assert [pod["metadata"]["name"] for pod in left] == [f"{JOB}-0-0"]


async def test_an_eviction_is_never_counted(world: World) -> None:
    await world.start()
    disrupted = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]
    await world.kubelet(f"{JOB}-0-1", phase="Failed", reason="Evicted", conditions=disrupted)
    await world.reconcile()
    status = (await world.job()).status
    (entry,) = status.restarts
    assert entry.cause == "PodEvicted"
    assert status.gang_failures == 0
