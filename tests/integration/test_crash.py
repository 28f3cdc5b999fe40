"""The operator is killed in the middle of a pass, at every place where it can be; the next one goes on."""

import asyncio
from collections import Counter

import pytest

from neuron_api.resource.status import Phase
from neuron_operator.kube.errors import UnavailableError

from .crash_points import WRITES, Death, Killed, MortalCluster
from .lifecycle import inventory
from .world import JOB, World, manifest, until


async def run_until_killed(world: World, writes: int, *, after: bool) -> bool:
    """Whether there was a write to be killed at."""
    death = Death(writes if after else writes + 1, after=after)
    try:
        await world.reconcile(world.controller(MortalCluster(world.cluster, death, WRITES)))  # type: ignore[arg-type]
    except Killed:
        return True
    return False


async def delete_job(world: World) -> None:
    """And wait until nothing of it is left. The collector notices a new CRD after up to 30 s."""
    world.kubectl("delete", "ntj", JOB, "--timeout=10m")

    async def is_empty() -> bool:
        for name in await world.pod_names():  # the kubelet's part of a graceful deletion
            world.kubectl("delete", "pod", name, "--grace-period=0", "--force", "--ignore-not-found")
        return not await inventory(world)

    await until("garbage collection", is_empty)


@pytest.mark.parametrize("after", [False, True], ids=["before-the-write", "after-the-write"])
async def test_an_operator_killed_at_any_write_of_the_start_leaves_no_duplicate_and_no_orphan(
    world: World, after: bool
) -> None:
    expected = {f"pod/{JOB}-0-0", f"pod/{JOB}-0-1", f"service/{JOB}", f"configmap/{JOB}-config"}
    kills = 0
    for writes in range(after, 12):  # nothing is killed after its 0th write
        world.apply(manifest())
        killed = await run_until_killed(world, writes, after=after)
        kills += killed
        await world.reconcile()
        assert await inventory(world) == Counter(expected)
        status = (await world.job()).status
        assert (status.attempt, status.restart_count, status.phase) == (0, 0, Phase.STARTING)
        await delete_job(world)
        if not killed:
            break
    assert kills >= 7  # start, configuration, service, two pods, status, event


@pytest.mark.parametrize("after", [False, True], ids=["before-the-write", "after-the-write"])
async def test_an_operator_killed_at_any_write_of_a_gang_restart_counts_it_once(world: World, after: bool) -> None:
    await world.start()
    for restart in range(1, 4):
        attempt = (await world.job()).status.attempt
        await world.end(f"{JOB}-{attempt}-1", 1, "RuntimeError: boom")
        # Each further restart is killed one write later; then again, until a pass gets through.
        writes = restart
        while await run_until_killed(world, writes, after=after):
            writes += 1
        for name in [n for n in await world.pod_names() if n.startswith(f"{JOB}-{attempt}-")]:
            world.kubectl("delete", "pod", name, "--grace-period=0", "--force", "--ignore-not-found")
        await world.reconcile()
        status = (await world.job()).status
        assert (status.attempt, status.gang_failures, status.restart_count) == (restart, restart, restart)
        assert await world.pod_names() == [f"{JOB}-{restart}-0", f"{JOB}-{restart}-1"]
        await world.run_all()
        await world.report(20 + restart)
        await world.reconcile()


async def test_deleting_the_job_with_the_operator_down_cleans_up_its_children(world: World) -> None:
    await world.start()
    assert len(await inventory(world)) == 4
    await delete_job(world)  # nothing of the operator runs
    assert await world.controller().reconcile(world.key)  # a pass over a job that is gone does nothing


async def test_two_operators_at_once_do_no_harm(world: World) -> None:
    world.apply(manifest())
    await asyncio.gather(*(world.reconcile(world.controller()) for _ in range(4)))
    assert len(await world.pods()) == 2
    assert (await world.job()).status.restart_count == 0


async def test_an_api_server_that_is_away_is_an_error_to_come_back_from(world: World) -> None:
    await world.start()
    world.plane.stop_component("kube-apiserver")
    try:
        with pytest.raises(UnavailableError):
            await world.reconcile()
    finally:
        world.plane.start_component("kube-apiserver")
    await world.reconcile()
    assert (await world.job()).status.phase is Phase.RUNNING
    assert (await world.job()).status.restart_count == 0
