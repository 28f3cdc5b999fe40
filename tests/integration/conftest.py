"""One real API server for all tests here (tests/support/api_server.py)."""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from api_server import administrator, control_plane_with_jobs
from controlplane.controlplane import ControlPlane
from neuron_operator.kube.gateway import Cluster

from .faultproxy import FaultProxy
from .operators import Operator
from .world import World


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the servers."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane_with_jobs(tmp_path_factory.mktemp("control-plane")) as plane:
        yield plane


@pytest.fixture
async def cluster(control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    async with administrator(control_plane, monkeypatch) as connection:
        yield connection


@pytest.fixture
async def world(control_plane: ControlPlane, cluster: Cluster) -> AsyncIterator[World]:
    """A namespace of its own with a claim, and a controller that is run pass by pass."""
    namespace = f"test-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl("create", "namespace", namespace)
    made = World(control_plane, cluster, namespace)
    await made.prepare()
    yield made
    control_plane.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture
def operators(world: World, tmp_path: Path) -> Iterator[Any]:
    """Start operators by name; nothing survives the test."""
    started: list[Operator] = []

    def start(name: str, **variables: str) -> Operator:
        started.append(Operator(world, tmp_path, name, **variables))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture
async def proxy(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[FaultProxy]:
    """A bad day between an operator and the API server."""
    async with FaultProxy.before(control_plane, tmp_path) as made:
        yield made
