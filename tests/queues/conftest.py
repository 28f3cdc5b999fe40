"""The real schedulers: `make test-queues`. Not part of `make test`, since building them takes minutes."""

import os
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from api_server import administrator, control_plane_with_jobs
from controlplane.controlplane import ControlPlane
from integration.world import World, until
from neuron_operator.kube import gateway as api
from neuron_operator.kube.gateway import Cluster

collect_ignore_glob = [] if os.environ.get("NTO_TEST_QUEUES") else ["test_*.py"]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Each scheduler gets a control plane of its own."""
    with control_plane_with_jobs(tmp_path_factory.mktemp("plane")) as started:
        yield started


@pytest.fixture
async def cluster(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    async with administrator(plane, monkeypatch) as connection:
        yield connection


@pytest.fixture
async def worlds(plane: ControlPlane, cluster: Cluster) -> AsyncIterator[list[World]]:
    """Two teams, each with a namespace and a claim."""
    made = [World(plane, cluster, f"team-{uuid.uuid4().hex[:8]}") for _ in range(2)]
    for world in made:
        plane.kubectl("create", "namespace", world.namespace)
        await world.prepare()
    yield made
    for world in made:
        world.kubectl("delete", "ntj", "--all", "--wait=false")
    for world in made:
        await until("the pods to be gone", lambda world=world: _is_empty(world))
        plane.kubectl("delete", "namespace", world.namespace, "--wait=false")


async def _is_empty(world: World) -> bool:
    """What kubelets and the operator do for pods of jobs that are gone."""
    for pod in await world.pods():
        metadata = pod["metadata"]
        if pod["spec"].get("nodeName") and pod.get("status", {}).get("phase") != "Failed":
            await world.end(metadata["name"], 143)
        await world.cluster.delete(api.POD, world.namespace, metadata["name"], metadata["uid"], grace=0)
    await world.reconcile()
    return not await world.pods()
