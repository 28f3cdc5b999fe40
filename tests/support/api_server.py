"""A real API server that serves jobs, for the tests that need one: started once, and reached as its administrator.

What cannot be had without a node is the kubelet: `World` writes its part of pod statuses. `make demo` has a real one.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import pytest

from bounds import BOUND
from controlplane.controlplane import ControlPlane
from controlplane.errors import CommandFailed
from controlplane.shell import wait_until
from neuron_operator.kube import gateway
from neuron_operator.kube.gateway import Cluster

ROOT: Final = Path(__file__).parents[2]
_COMPONENTS: Final = ("etcd", "kube-apiserver", "kube-controller-manager")


@contextmanager
def control_plane_with_jobs(folder: Path) -> Iterator[ControlPlane]:
    """Start etcd, the API server and the controller manager (garbage collection, service accounts) with the CRD."""
    with ControlPlane.start(folder, _COMPONENTS) as plane:
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


@asynccontextmanager
async def administrator(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    """Connect with the operator's own gateway, as cluster administrator."""
    monkeypatch.setenv("KUBECONFIG", str(plane.kubeconfig))
    async with gateway.connect() as connection:
        yield connection
