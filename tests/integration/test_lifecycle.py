"""Suspension, deadlines and what happens after the end, on a real API server."""

from neuron_api import contract
from neuron_api.status import Phase
from neuron_operator import cluster as api

from .world import JOB, World, manifest, until


def suspend(world: World, wanted: bool) -> None:
    world.kubectl("patch", "ntj", JOB, "--type", "merge", "-p", f'{{"spec": {{"suspend": {str(wanted).lower()}}}}}')


async def gone(world: World) -> None:
    """The kubelet's part of a graceful deletion."""
    for name in await world.pod_names():
        world.kubectl("delete", "pod", name, "--grace-period=0", "--force", "--ignore-not-found")


async def test_a_suspended_job_gives_its_nodes_back_and_goes_on_as_a_new_attempt(world: World) -> None:
    await world.start()
    suspend(world, True)
    await world.reconcile()
    assert (await world.job()).status.phase is Phase.SUSPENDING
    pods = await world.pods()
    assert all("deletionTimestamp" in pod["metadata"] for pod in pods)
    assert {pod["metadata"]["deletionGracePeriodSeconds"] for pod in pods} == {120}, "time to save"
    await gone(world)
    assert await world.reconcile() is None
    world.kubectl("wait", f"ntj/{JOB}", "--for=condition=Suspended", "--timeout=1s")
    assert world.kubectl("get", "ntj", JOB).splitlines()[1].split()[1:3] == ["Suspended", "0/2"]

    suspend(world, False)
    await world.reconcile()
    status = (await world.job()).status
    assert (status.attempt, status.gang_failures) == (1, 0)
    assert await world.pod_names() == [f"{JOB}-1-0", f"{JOB}-1-1"]
    await world.run_all()
    await world.report(21)
    await world.reconcile()
    assert (await world.job()).status.phase is Phase.RUNNING


async def test_a_job_that_is_created_suspended_makes_nothing_until_it_may(world: World) -> None:
    job = manifest()
    job["spec"]["suspend"] = True
    world.apply(job)
    await world.reconcile()
    assert (await world.job()).status.phase is Phase.SUSPENDED
    assert await world.pods() == []
    for kind in (api.SERVICE, api.CONFIG_MAP):
        assert await world.cluster.list(kind, world.namespace, contract.LABEL_JOB) == []
    assert world.kubectl("diff", "-f", "-", stdin=job) == ""
    suspend(world, False)
    await world.reconcile()
    assert await world.pod_names() == [f"{JOB}-0-0", f"{JOB}-0-1"]


async def test_a_job_over_its_deadline_has_failed_and_its_pods_are_told_to_save(world: World) -> None:
    await world.start()
    world.kubectl("patch", "ntj", JOB, "--type", "merge", "-p", '{"spec": {"activeDeadlineSeconds": 1}}')
    await until("the deadline", lambda: ended(world))
    assert (await world.condition("Failed"))[:2] == ("True", "DeadlineExceeded")
    await world.reconcile()
    pods = await world.pods()
    assert {pod["metadata"]["deletionGracePeriodSeconds"] for pod in pods} == {120}, "time to save"


async def ended(world: World) -> bool:
    await world.reconcile()
    return (await world.job()).status.phase is Phase.FAILED
