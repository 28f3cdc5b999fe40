"""The dashboard in a real browser: `make test-dashboard`. Not part of `make test`: it needs Chromium and npm.

Real: the API server, the operator's passes, the dashboard's server, the launcher's `/history`, Chromium. What cannot be
had without a kubelet is the API server's way to a pod: `Connection.history` asks the launcher's server directly.
"""

import asyncio
import os
import shutil
import socket
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api_server import ROOT, administrator, control_plane_with_jobs
from bounds import BOUND
from controlplane.controlplane import ControlPlane
from integration.world import World
from neuron_api.resource.progress import Progress
from neuron_dashboard import server
from neuron_operator.cli.dashboard.cluster_source import ClusterSource
from neuron_operator.cli.live.connection import Access, Connection
from neuron_operator.kube.gateway import Cluster
from neuron_trainer.launcher.server import Server

collect_ignore_glob = [] if os.environ.get("NTO_TEST_DASHBOARD") else ["test_*.py"]

PICTURES = Path(os.environ.get("NTO_DASHBOARD_PICTURES") or ROOT / "build" / "dashboard").absolute()


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane_with_jobs(tmp_path_factory.mktemp("plane")) as started:
        yield started


@pytest.fixture
async def cluster(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    async with administrator(plane, monkeypatch) as connection:
        yield connection


@pytest.fixture
async def world(plane: ControlPlane, cluster: Cluster) -> AsyncIterator[World]:
    made = World(plane, cluster, f"team-{uuid.uuid4().hex[:4]}")
    plane.kubectl("create", "namespace", made.namespace)
    await made.prepare()
    yield made
    plane.kubectl("delete", "namespace", made.namespace, "--wait=false")


@pytest.fixture
def log_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The log directory of the run, served by the launcher's own server."""
    launcher = Server(lambda: Progress(step=1), "127.0.0.1", 0, tmp_path)
    launcher.start()

    def history(self: Connection, pod: str) -> bytes | None:
        with urllib.request.urlopen(f"http://127.0.0.1:{launcher.port}/history", timeout=BOUND) as answer:
            content: bytes = answer.read()
            return content

    monkeypatch.setattr(Connection, "history", history)
    yield tmp_path
    launcher.close()


@dataclass
class Site:
    """The dashboard as it runs."""

    address: str
    requests: list[str]
    """What was asked of the API server."""


@pytest.fixture
async def site(world: World, log_dir: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    requests: list[str] = []
    opened = Connection._open

    def counted(self: Connection, verb: str, path: str, *rest: Any) -> Any:
        requests.append(f"{verb} {path}")
        return opened(self, verb, path, *rest)

    monkeypatch.setattr(Connection, "_open", counted)
    source = ClusterSource(
        Access(str(world.plane.kubeconfig), None, world.namespace), "test", world.namespace, everywhere=False
    )
    said: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    listener = socket.create_server((server.LOOPBACK, 0))
    task = asyncio.create_task(server.serve(source, listener, opens_browser=False, say=said.set_result))
    yield Site((await asyncio.wait_for(said, BOUND)).strip(), requests)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def browser() -> AsyncIterator[Any]:
    """The Chromium that is installed; without one the test fails and says so."""
    from playwright.async_api import async_playwright

    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert program, "Chromium is missing: apt-get install chromium"
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        await started.close()
