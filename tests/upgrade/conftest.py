"""The chart's upgrade and roll-back under live jobs: `make test-upgrade`. Not part of `make test`: minutes."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from controlplane.controlplane import ControlPlane
from integration.earlier_release import BEFORE_THE_RENAMES, Release, checkout
from integration.world import World
from neuron_operator.kube import gateway as api

from .deployed_operator import NAMESPACE, DeployedOperator

collect_ignore_glob = [] if os.environ.get("NTO_TEST_UPGRADE") else ["test_*.py"]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return checkout(BEFORE_THE_RENAMES, tmp_path_factory.mktemp("earlier"))


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """Without a definition: Helm installs it with the chart."""
    components = ("etcd", "kube-apiserver", "kube-controller-manager")
    with ControlPlane.start(tmp_path / "plane", components) as started:
        for name in (NAMESPACE, "team"):
            started.kubectl("create", "namespace", name)
        yield started


@pytest.fixture
async def world(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setenv("KUBECONFIG", str(plane.kubeconfig))
    async with api.connect() as cluster:
        made = World(plane, cluster, "team")
        await made.prepare()
        yield made


@pytest.fixture
def operator(plane: ControlPlane, tmp_path: Path) -> Iterator[DeployedOperator]:
    deployed = DeployedOperator(plane, tmp_path)
    yield deployed
    deployed.kill()
