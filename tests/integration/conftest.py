"""A real API server with etcd and the controller manager (garbage collection, service accounts), one for all tests.

What cannot be had without a node is the kubelet: `World` writes its part of pod statuses. `make demo` has a real one.
"""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bounds import BOUND
from localcluster.controlplane import ControlPlane
from localcluster.errors import CommandFailed
from localcluster.shell import wait_until
from neuron_operator.kube import gateway as api
from neuron_operator.kube.gateway import Cluster

from .faultproxy import FaultProxy
from .operators import Operator
from .world import World

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the servers."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Started once: 3 s."""
    components = ("etcd", "kube-apiserver", "kube-controller-manager")
    with ControlPlane.start(tmp_path_factory.mktemp("control-plane"), components) as plane:
        plane.kubectl("apply", "-f", ROOT / "crds")
        wait_until("the CRD to be served", lambda: _serves_jobs(plane), seconds=BOUND)
        yield plane


def _serves_jobs(plane: ControlPlane) -> bool:
    """`kubectl wait` fails at once on a CRD that has no conditions yet."""
    try:
        plane.kubectl("get", "neurontrainingjobs", "--all-namespaces")
    except CommandFailed:
        return False
    return True


@pytest.fixture
async def cluster(control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    """The operator's own gateway, as cluster administrator."""
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    async with api.connect() as connection:
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
