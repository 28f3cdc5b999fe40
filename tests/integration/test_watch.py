"""The pod watch against a real API server: cut as too slow, too far behind, its server gone. Nothing is lost."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from bounds import BOUND
from neuron_api import contract
from neuron_operator.cache.pod_store import PodStore
from neuron_operator.cache.pod_watch import PodWatch
from neuron_operator.kube import gateway as api
from neuron_operator.kube.gateway import Cluster, Kind
from neuron_operator.queue.workqueue import JobKey

from .world import World, until

FAT = "x" * 200_000
"""Bytes of an annotation: the kernel holds some 10 MB of a stream that nobody reads."""
MOST_PATCHES = 400


class StalledCluster(Cluster):
    """Its watch reads on only while it may."""

    def __init__(self, cluster: Cluster) -> None:
        vars(self).update(vars(cluster))
        self.may_read = asyncio.Event()
        self.may_read.set()

    async def watch(self, kind: Kind, namespace: str, selector: str, version: str) -> AsyncIterator[tuple[str, Any]]:
        async for event in super().watch(kind, namespace, selector, version):
            await self.may_read.wait()
            yield event


@asynccontextmanager
async def watching(world: World) -> AsyncIterator[tuple[StalledCluster, PodStore, PodWatch, list[JobKey]]]:
    """A watch of the world's namespace."""
    cluster, woken = StalledCluster(world.cluster), list[JobKey]()
    store = PodStore(lambda key, _: woken.append(key))
    watch = PodWatch(cluster, store, [world.namespace])
    task = asyncio.create_task(watch.run())
    await asyncio.wait_for(store.complete(), BOUND)
    yield cluster, store, watch, woken
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def pod(world: World, name: str, job: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": world.namespace, "labels": {contract.LABEL_JOB: job}},
        "spec": {"containers": [{"name": "trainer", "image": "trainer.example/cpu:1"}]},
    }


async def seen(world: World, store: PodStore, *jobs: str) -> None:
    """Wait until the store has exactly what the API server has."""

    async def same() -> bool:
        listed = await world.cluster.list(api.POD, world.namespace, contract.LABEL_JOB)
        there = {(one["metadata"]["name"], one["metadata"]["resourceVersion"]) for one in listed}
        known = [body for job in jobs for body in store.job_pods(JobKey(world.namespace, job))]
        return there == {(one["metadata"]["name"], one["metadata"]["resourceVersion"]) for one in known}

    await until("the store to be as the API server", same)


def watchers_cut(world: World) -> int:
    """By the API server, as unresponsive, since it was started."""
    text = world.plane.kubectl("get", "--raw", "/metrics")
    found = re.findall(r'^apiserver_terminated_watchers_total\{.*resource="pods".*\} (\d+)', text, re.MULTILINE)
    return sum(map(int, found))


async def test_a_watcher_that_was_cut_for_being_slow_catches_up_with_everything(world: World) -> None:
    async with watching(world) as (cluster, store, watch, woken):
        for name in ("fat-0", "stays-0", "goes-0"):
            await world.cluster.create(api.POD, pod(world, name, name[:-2]))
        await seen(world, store, "fat", "stays", "goes")
        before = watchers_cut(world)
        cluster.may_read.clear()
        for number in range(MOST_PATCHES):
            body = await world.cluster.get(api.POD, world.namespace, "fat-0")
            body["metadata"]["annotations"] = {"fat": f"{number}{FAT}"}
            await world.cluster.replace(api.POD, body)
            if number % 20 == 19 and watchers_cut(world) > before:
                break
        else:
            raise AssertionError(f"the API server cut nobody in {MOST_PATCHES} patches of {len(FAT)} bytes")
        gone = await world.cluster.get(api.POD, world.namespace, "goes-0")
        await world.cluster.delete(api.POD, world.namespace, "goes-0", gone["metadata"]["uid"], grace=0)
        await world.end("stays-0", 1)
        woken.clear()
        cluster.may_read.set()
        await seen(world, store, "fat", "stays", "goes")
        assert {JobKey(world.namespace, "stays"), JobKey(world.namespace, "goes")} <= set(woken)
        assert watch.listings == 1  # it went on from the last event


async def test_a_deletion_in_a_gap_that_the_server_forgot_is_found_by_a_listing(world: World) -> None:
    """A restarted API server knows no versions from before it: 410, the same as after a compaction."""
    async with watching(world) as (cluster, store, watch, woken):
        for name in ("stays-0", "goes-0", "comes-0"):
            await world.cluster.create(api.POD, pod(world, name, name[:-2]))
        await seen(world, store, "stays", "goes", "comes")
        cluster.may_read.clear()
        await world.cluster.create(api.POD, pod(world, "blocks-0", "stays"))  # an event for the watch to wait with
        gone = await world.cluster.get(api.POD, world.namespace, "goes-0")
        await world.cluster.delete(api.POD, world.namespace, "goes-0", gone["metadata"]["uid"], grace=0)
        await world.end("stays-0", 1)
        # What is in the socket already will still be read; the new server begins later than that only with this write.
        world.kubectl("create", "configmap", "later")
        world.plane.stop_component("kube-apiserver")
        world.plane.start_component("kube-apiserver")
        world.kubectl("create", "-f", "-", stdin=pod(world, "comes-1", "comes"))  # on a connection of its own
        woken.clear()
        cluster.may_read.set()
        await seen(world, store, "stays", "goes", "comes")
        assert {job.name for job in woken} >= {"stays", "goes", "comes"}
        assert watch.listings == 2


async def test_it_goes_on_when_the_server_was_away(world: World) -> None:
    async with watching(world) as (_, store, _, _):
        await world.cluster.create(api.POD, pod(world, "a-0", "a"))
        await seen(world, store, "a")
        world.plane.stop_component("kube-apiserver")
        world.plane.start_component("kube-apiserver")
        world.kubectl("create", "-f", "-", stdin=pod(world, "a-1", "a"))
        await seen(world, store, "a")


def test_what_a_pass_needs_of_a_pod_is_in_the_store(world: World) -> None:
    """The trimmed body reads the same as the whole one (`planning.observation.pods`)."""
    from neuron_operator.planning.observation import pods

    body = json.loads(world.kubectl("create", "-f", "-", "-o", "json", stdin=pod(world, "a-0", "a")))
    body["metadata"]["labels"] |= {contract.LABEL_ATTEMPT: "0", contract.LABEL_NODE_RANK: "0"}
    body["spec"]["nodeName"] = "n"
    store = PodStore(lambda *_: None)
    store.created(body)
    assert pods.read(store.job_pods(JobKey(world.namespace, "a"))[0]) == pods.read(body)
