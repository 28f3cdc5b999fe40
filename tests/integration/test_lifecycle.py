"""Suspension, deadlines and what happens after the end, on a real API server."""

import pytest

from controlplane.errors import CommandFailed
from neuron_api import contract
from neuron_api.resource.progress import TrainerPhase
from neuron_api.resource.status import Phase
from neuron_operator.kube import gateway as api

from .world import JOB, World, manifest, until


def suspend(world: World, wanted: bool) -> None:
    world.kubectl("patch", "ntj", JOB, "--type", "merge", "-p", f'{{"spec": {{"suspend": {str(wanted).lower()}}}}}')


async def test_a_suspended_job_gives_its_nodes_back_and_goes_on_as_a_new_attempt(world: World) -> None:
    await world.start()
    suspend(world, True)
    await world.reconcile()
    assert (await world.job()).status.phase is Phase.SUSPENDING
    assert await world.pods() == [], "on no node, so that nobody has to be waited for"
    assert await world.reconcile() is None
    world.kubectl("wait", f"ntj/{JOB}", "--for=condition=Suspended", "--timeout=10m")
    assert world.kubectl("get", "ntj", JOB).splitlines()[1].split()[1:3] == ["Suspended", "2"]

    suspend(world, False)
    await world.reconcile()
    status = (await world.job()).status
    assert (status.attempt, status.gang_failures) == (1, 0)
    assert await world.pod_names() == [f"{JOB}-1-0", f"{JOB}-1-1"]
    await world.run_all()
    await world.report(21)
    await world.reconcile()
    job = await world.job()
    assert job.status.phase is Phase.RUNNING
    spent, created = job.status.time_spent, job.metadata.creation_timestamp
    assert spent is not None
    assert spent.start_time == created
    assert spent.total == pytest.approx((spent.end_time - spent.start_time).total_seconds(), abs=1e-6)
    assert spent.seconds["suspended"] > 0
    assert job.unread == (), "the API server has stored it as it was written"


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


async def test_a_job_over_its_deadline_has_failed_and_its_pods_go(world: World) -> None:
    await world.start()
    world.kubectl("patch", "ntj", JOB, "--type", "merge", "-p", '{"spec": {"activeDeadlineSeconds": 1}}')
    await until("the deadline", lambda: ended(world))
    assert (await world.condition("Failed"))[:2] == ("True", "DeadlineExceeded")
    await world.reconcile()
    assert await world.pods() == []


async def ended(world: World) -> bool:
    await world.reconcile()
    return (await world.job()).status.phase is Phase.FAILED


async def finish(world: World, **spec: object) -> None:
    """A job with these fields that has succeeded."""
    job = manifest()
    job["spec"] |= spec
    world.apply(job)
    await world.reconcile()
    await world.run_all()
    await world.report(240, phase=TrainerPhase.SUCCEEDED)
    for name in await world.pod_names():
        await world.end(name, 0)
    await world.reconcile()


async def left(world: World) -> list[str]:
    """Kinds of the job's children that are there."""
    kinds = {"pod": api.POD, "service": api.SERVICE, "configmap": api.CONFIG_MAP}
    listed = {name: await world.cluster.list(kind, world.namespace, contract.LABEL_JOB) for name, kind in kinds.items()}
    return [name for name, found in listed.items() for one in found if "deletionTimestamp" not in one["metadata"]]


async def test_children_of_a_finished_job_are_deleted_after_its_time_and_the_job_stays(world: World) -> None:
    await finish(world, ttlSecondsAfterFinished=3600)
    look = await world.reconcile()
    assert look is not None
    assert 3500 < look <= 3600
    assert sorted(await left(world)) == ["configmap", "pod", "pod", "service"]
    world.kubectl("patch", "ntj", JOB, "--type", "merge", "-p", '{"spec": {"ttlSecondsAfterFinished": 0}}')
    before = (await world.job()).status
    assert await world.reconcile() is None
    assert await left(world) == []
    await world.reconcile()
    assert await left(world) == [], "made again"
    after = (await world.job()).status
    assert (after.phase, after.progress, after.pods) == (before.phase, before.progress, before.pods)


async def test_the_job_itself_is_deleted_only_where_the_spec_asks_for_it(world: World) -> None:
    await finish(world, ttlSecondsAfterFinished=0, ttlDeletionPolicy="Job")
    await world.reconcile()
    assert await world.cluster.find(api.JOB, world.namespace, JOB) is None


async def test_a_foreground_deletion_is_left_to_garbage_collection_by_an_operator_that_is_up(world: World) -> None:
    await world.start()
    for name in await world.pod_names():
        await world.end(name, 143)
    world.kubectl("delete", "ntj", JOB, "--cascade=foreground", "--wait=false")

    async def is_gone() -> bool:
        await world.reconcile()
        return await world.cluster.find(api.JOB, world.namespace, JOB) is None and not await left(world)

    await until("foreground deletion", is_gone)


PLACED = '{"spec": {"podTemplate": {"spec": {"priorityClassName": "low"}}}}'


@pytest.mark.parametrize(
    "change",
    [
        '{"spec": {"image": "trainer.example/cpu:2"}}',
        '{"spec": {"storage": [{"claimName": "training", "mountPath": "/elsewhere"}]}}',
        '{"spec": {"platform": {"accelerator": "Neuron", "instanceType": "trn1.32xlarge"}}}',
        PLACED,
    ],
)
async def test_what_pods_are_made_from_changes_only_while_there_are_none(world: World, change: str) -> None:
    await world.start()
    with pytest.raises(CommandFailed, match="differ from the others: set spec"):
        world.kubectl("patch", "ntj", JOB, "--type", "merge", "-p", change)
    suspend(world, True)
    await world.reconcile()
    await world.reconcile()
    assert (await world.job()).status.phase is Phase.SUSPENDED
    world.kubectl("patch", "ntj", JOB, "--type", "merge", "-p", change)


async def test_what_devices_counts_cannot_change_once_the_job_has_been_started(world: World) -> None:
    await world.start()
    with pytest.raises(CommandFailed, match="deviceCountScope"):
        world.kubectl("patch", "ntj", JOB, "--type", "merge", "-p", '{"spec": {"deviceCountScope": "Total"}}')


async def test_limits_of_a_running_job_may_change(world: World) -> None:
    await world.start()
    limits = '{"spec": {"activeDeadlineSeconds": 99999, "restartPolicy": {"maxGangRestarts": 0}}}'
    world.kubectl("patch", "ntj", JOB, "--type", "merge", "-p", limits)
    await world.end(f"{JOB}-0-1", 1, "RuntimeError: boom")
    await world.reconcile()
    assert (await world.condition("Failed"))[1] == "BudgetExhausted"
