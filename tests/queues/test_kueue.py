"""Kueue itself, running: quota for one gang of two, two teams. Nodes and kubelets are played by the tests."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from controlplane.controlplane import ControlPlane
from integration.world import JOB, Json, World, until
from neuron_api.resource.scheduling import GangScheduler
from neuron_api.resource.status import Phase
from neuron_operator.kube import gateway as api
from neuron_operator.kube.gateway import Kind

from .kueue_programs import kueue
from .running import job, node

WORKLOADS = Kind("kueue.x-k8s.io/v1beta2", "workloads")
FINALIZER = "kueue.x-k8s.io/managed"


def made(kind: str, name: str, spec: Json | None = None, **more: object) -> Json:
    found = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": name}, **more}
    return {**found, "spec": spec} if spec is not None else found


QUEUE = {
    "namespaceSelector": {},
    "preemption": {"withinClusterQueue": "LowerPriority"},
    "resourceGroups": [
        {
            "coveredResources": ["cpu"],
            "flavors": [{"name": "default", "resources": [{"name": "cpu", "nominalQuota": "2"}]}],
        }
    ],
}


@pytest.fixture(scope="module")
def manager(plane: ControlPlane) -> Iterator[None]:
    with kueue(plane):
        objects = [made("ClusterQueue", "all", QUEUE), made("WorkloadPriorityClass", "urgent", value=1000)]
        for one in objects:
            plane.kubectl("apply", "--filename", "-", stdin=json.dumps(one))
        yield


@pytest.fixture
async def teams(manager: None, worlds: list[World]) -> list[World]:
    """Each with a LocalQueue and a node of its own."""
    for world in worlds:
        world.options = replace(world.options, gang_schedulers=frozenset({GangScheduler.KUEUE}))
        world.kubectl("apply", "-f", "-", stdin=made("LocalQueue", "team", {"clusterQueue": "all"}))
        await node(world, world.namespace, "8")
    return worlds


async def gated(world: World) -> list[bool]:
    return [bool(pod["spec"].get("schedulingGates")) for pod in await world.pods()]


async def free(world: World, what: str) -> None:
    """Until Kueue has taken the gates from both pods; then a scheduler's and a kubelet's part."""

    async def admitted() -> bool:
        return await gated(world) == [False, False]

    await until(what, admitted)
    for pod in await world.pods():
        if not pod["spec"].get("nodeName"):
            await bind(world, pod["metadata"]["name"])
    await world.run_all()


async def bind(world: World, name: str) -> None:
    body = {
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
        "target": {"apiVersion": "v1", "kind": "Node", "name": world.namespace},
    }  # fmt: skip
    path = f"/api/v1/namespaces/{world.namespace}/pods/{name}/binding"
    world.plane.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))


async def train(world: World, **scheduling: object) -> None:
    """A job that has been admitted and trains."""
    world.apply(job("Kueue", queueName="team", **scheduling))
    await world.reconcile()
    await free(world, "the gang to be admitted")
    await world.report(20)
    await world.reconcile()
    assert (await world.condition("Admitted"))[:2] == ("True", "Admitted")


async def ends(world: World, name: str) -> None:
    """A pod that was told to go does so: the kubelet's last word, and its last delete."""
    uid = next(pod["metadata"]["uid"] for pod in await world.pods() if pod["metadata"]["name"] == name)
    await world.end(name, 143)
    await world.cluster.delete(api.POD, world.namespace, name, uid, grace=0)


async def told(world: World, words: str) -> str:
    """Until the job quotes Kueue with these words."""

    async def said() -> str | None:
        await world.reconcile()
        status, reason, message = await world.condition("Admitted")
        return message if (status, reason) == ("False", "WaitingForQuota") and words in message else None

    return await until(f"Kueue to say {words!r}", said)


async def workloads(world: World) -> dict[str, Json]:
    return {one["metadata"]["name"]: one for one in await world.cluster.list(WORKLOADS, world.namespace)}


async def test_a_gang_without_quota_waits_in_kueues_words_and_starts_when_the_other_is_suspended(
    teams: list[World],
) -> None:
    first, second = teams
    await train(first)
    second.apply(job("Kueue", queueName="team"))
    await second.reconcile()
    message = await told(second, "insufficient unused quota for cpu")
    assert message.startswith("2 pods wait in LocalQueue team. Kueue says: ")
    assert await gated(second) == [True, True]
    first.kubectl("patch", "ntj", JOB, "--type=merge", "--patch", '{"spec":{"suspend":true}}')
    await first.reconcile()
    for name in await first.pod_names():
        await ends(first, name)
    await first.reconcile()
    assert await first.pods() == []
    assert (await first.job()).status.phase is Phase.SUSPENDED
    await free(second, "the quota to be free")
    # To go on is a new attempt, and a new group at the end of the queue.
    first.kubectl("patch", "ntj", JOB, "--type=merge", "--patch", '{"spec":{"suspend":false}}')
    await first.reconcile()
    await told(first, "insufficient unused quota")
    assert f"{JOB}-1" in await workloads(first)


async def test_a_lost_pod_is_replaced_within_its_group_and_a_failed_gang_by_a_new_one(teams: list[World]) -> None:
    first, _ = teams
    await train(first)
    lost = (await first.pods())[1]["metadata"]
    assert lost["finalizers"] == [FINALIZER]
    await first.cluster.delete(api.POD, first.namespace, lost["name"], lost["uid"])
    await first.reconcile()
    await ends(first, lost["name"])
    assert len(await first.pods()) == 2, "Kueue keeps it until its replacement is there, which needs its name"
    await first.reconcile()
    await first.reconcile()
    assert [pod["metadata"]["uid"] == lost["uid"] for pod in await first.pods()] == [False, False]
    await free(first, "the replacement to be admitted")
    assert list(await workloads(first)) == [f"{JOB}-0"]
    await first.report(30)
    await first.reconcile()
    # A failure of all: new pods in a new group, and the old one holds no quota.
    await first.end(f"{JOB}-0-0", 1, "KeyError: x")
    await first.reconcile()
    await ends(first, f"{JOB}-0-1")
    await first.reconcile()
    await first.reconcile()
    await first.reconcile()
    assert await first.pod_names() == [f"{JOB}-1-0", f"{JOB}-1-1"]
    await free(first, "the new group to be admitted: there is quota for one only")

    async def alone() -> bool:
        return list(await workloads(first)) == [f"{JOB}-1"]

    await until("the old workload to be gone", alone)


async def test_a_preempted_gang_is_a_disruption_and_comes_back_by_itself(teams: list[World]) -> None:
    first, second = teams
    await train(first)
    second.apply(job("Kueue", queueName="team", priorityClassName="urgent"))
    await second.reconcile()

    async def preempted() -> bool:
        return all("deletionTimestamp" in pod["metadata"] for pod in await first.pods())

    await until("Kueue to preempt the first", preempted)
    await first.reconcile()
    entries = (await first.job()).status.restarts
    assert [entry.cause.value for entry in entries] == ["PodEvicted", "PodEvicted"]
    assert "Preempted" in entries[0].message
    for name in await first.pod_names():
        await ends(first, name)
    await free(second, "the second to have the quota")
    await first.reconcile()
    await first.reconcile()
    await told(first, "insufficient unused quota")
    assert (await first.job()).status.gang_failures == 0
    second.kubectl("delete", "ntj", JOB, "--wait=false")
    await until("garbage collection", lambda: _all_going(second))
    for name in await second.pod_names():
        await ends(second, name)
    await second.reconcile()
    await free(first, "the first to come back")


async def test_pods_of_a_deleted_job_vanish_gated_or_running_and_their_quota_is_free(teams: list[World]) -> None:
    first, second = teams
    await train(first)
    second.apply(job("Kueue", queueName="team"))
    await second.reconcile()
    await told(second, "insufficient unused quota")
    for world in teams:
        world.kubectl("delete", "ntj", JOB, "--wait=false")
        await until("garbage collection", lambda world=world: _all_going(world))
    for name in await first.pod_names():
        await ends(first, name)
    for world in teams:
        await world.reconcile()
        assert await world.pods() == []

        async def gone(world: World = world) -> bool:
            return not await workloads(world)

        await until("the workloads to be gone", gone)


async def test_a_failed_job_keeps_its_pods_for_their_logs_and_no_quota(teams: list[World]) -> None:
    first, second = teams
    await train(first)
    second.apply(job("Kueue", queueName="team"))
    await second.reconcile()
    await told(second, "insufficient unused quota")
    await first.end(f"{JOB}-0-0", 2, "data.train_dir: no")
    await first.reconcile()
    await first.reconcile()
    await ends(first, f"{JOB}-0-1")
    await first.reconcile()
    assert await first.pod_names() == [f"{JOB}-0-0"]
    assert (await first.job()).status.phase is Phase.FAILED
    await free(second, "the quota of the failed job")


async def _all_going(world: World) -> bool:
    return all("deletionTimestamp" in pod["metadata"] for pod in await world.pods())
