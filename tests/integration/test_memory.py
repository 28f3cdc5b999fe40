"""Passes that read from memory (`cache.cached_client`), with the real pod watch feeding it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from neuron_operator.cache.cached_client import CachedClient
from neuron_operator.cache.pod_store import PodStore
from neuron_operator.controller import Controller
from neuron_operator.kube import gateway as api
from neuron_operator.kube.gateway import Cluster

from .test_watch import seen, watching
from .world import JOB, World


@asynccontextmanager
async def remembering(world: World) -> AsyncIterator[tuple[Controller, PodStore, list[str]]]:
    """An operator with a memory, and what it asks the API server for ("GET pods", …)."""
    asked: list[str] = []
    async with watching(world) as (cluster, store, _, _):
        counted = Cluster(cluster._api, lambda verb, plural, _: asked.append(f"{verb} {plural}"))
        view = CachedClient(counted, store)
        yield replace(world.controller(counted), cached_client=view), store, asked


async def test_a_pod_that_has_ended_is_replaced_without_a_listing_of_pods(world: World) -> None:
    """The API server answers one after up to 0.1 s: its cache asks etcd first how far it is."""
    await world.start()
    async with remembering(world) as (operator, store, asked):
        failed = (await world.pods())[1]["metadata"]
        await world.kubelet(failed["name"], phase="Failed", reason="Evicted", containerStatuses=[])
        await seen(world, store, JOB)
        await operator.reconcile(world.key)
        assert "GET pods" not in asked
        assert (await world.pods())[1]["metadata"]["uid"] != failed["uid"]
    assert len((await world.job()).status.restarts) == 1


async def test_what_a_successor_needs_and_somebody_has_deleted_is_made_again(world: World) -> None:
    """Memory has it for minutes; the pass after a replacement looks."""
    await world.start()
    async with remembering(world) as (operator, store, _):
        await world.reconcile(operator)
        (config_map,) = [
            one["metadata"]["name"]
            for one in await world.cluster.list(api.CONFIG_MAP, world.namespace)
            if one["metadata"].get("ownerReferences")
        ]
        world.kubectl("delete", "configmap", config_map)
        failed = (await world.pods())[1]["metadata"]["name"]
        await world.kubelet(failed, phase="Failed", reason="Evicted", containerStatuses=[])
        await seen(world, store, JOB)
        await world.reconcile(operator)
        await seen(world, store, JOB)
        await world.reconcile(operator)
        assert await world.cluster.find(api.CONFIG_MAP, world.namespace, config_map)


async def test_a_gang_that_begins_again_is_looked_at_first(world: World) -> None:
    await world.start()
    async with remembering(world) as (operator, store, asked):
        await world.end((await world.pods())[1]["metadata"]["name"], 1)
        await seen(world, store, JOB)
        await operator.reconcile(world.key)
        assert "GET pods" in asked
    assert (await world.job()).status.attempt == 1
