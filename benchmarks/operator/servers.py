"""The API server of a run: etcd and kube-apiserver on tmpfs, a node that does not exist, kwok in place of a kubelet."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from controlplane.controlplane import ControlPlane
from controlplane.locations import REPOSITORY

HERE = Path(__file__).parent
NODE = "fake-0"

AUDIT = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    verbs: [create, update, patch, delete, deletecollection]
  - level: None
"""

Json = dict[str, Any]


@dataclass
class Servers:
    """A control plane and a client of it."""

    plane: ControlPlane
    session: aiohttp.ClientSession
    audit_log: Path

    async def call(self, verb: str, path: str, body: Any = None, kind: str = "application/json") -> Json:
        """One request; raises with the server's words."""
        data = None if body is None else body if isinstance(body, str) else json.dumps(body)
        async with self.session.request(
            verb, self.plane.url + path, data=data, headers={"Content-Type": kind}
        ) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise RuntimeError(f"{verb} {path}: {answer.status} {text[:5000]}")
            return dict(json.loads(text))

    async def count(self, path: str) -> int:
        """Objects of a collection, without reading them."""
        page = await self.call("GET", f"{path}?limit=1")
        return len(page["items"]) + int(page["metadata"].get("remainingItemCount") or 0)

    def pids(self) -> list[int]:
        """Of etcd and the API server."""
        return list(self.plane.status()["running"].values())

    @property
    def identity(self) -> list[str]:
        """Flags of the bare client."""
        return [
            f"-server={self.plane.url}", f"-ca={self.plane.authority.certificate}",
            f"-cert={self.plane.admin.certificate}", f"-key={self.plane.admin.key}",
        ]  # fmt: skip

    def environment(self, temporary: Path) -> dict[str, str]:
        """Of a program that is to work on this cluster."""
        return os.environ | {"KUBECONFIG": str(self.plane.kubeconfig), "TMPDIR": str(temporary)}


@asynccontextmanager
async def serving() -> AsyncIterator[Servers]:
    """Everything is thrown away at the end."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=shared if shared.is_dir() else None) as text:  # noqa: ASYNC240
        folder = Path(text)
        (folder / "audit.yaml").write_text(AUDIT)
        flags = [
            f"--audit-policy-file={folder / 'audit.yaml'}", f"--audit-log-path={folder / 'audit.log'}",
            "--audit-log-mode=batch", "--audit-log-batch-max-wait=1s", "--audit-log-batch-buffer-size=100000",
            "--max-requests-inflight=2000", "--max-mutating-requests-inflight=2000",
        ]  # fmt: skip
        with ControlPlane.start(folder, api_flags=flags) as plane:
            plane.kubectl("apply", "-f", REPOSITORY / "crds")
            context = ssl.create_default_context(cafile=str(plane.authority.certificate))
            context.load_cert_chain(str(plane.admin.certificate), str(plane.admin.key))
            connector = aiohttp.TCPConnector(ssl=context, limit=0)
            timeout = aiohttp.ClientTimeout(total=120)
            async with aiohttp.ClientSession(connector=connector, trust_env=False, timeout=timeout) as session:
                servers = Servers(plane, session, folder / "audit.log")
                await servers.call("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
                yield servers


@contextmanager
def kwok(servers: Servers, program: Path, address: str) -> Any:
    """Pods of the node become ready at once, and go when they are told to."""
    stages = servers.audit_log.with_name("stages.yaml")
    stages.write_text((HERE / "stages.yaml").read_text().replace("ADDRESS", address))
    log = (servers.audit_log.parent / "kwok.log").open("ab")
    command = [
        program, f"--kubeconfig={servers.plane.kubeconfig}", "--manage-all-nodes=true", "--node-ip=127.0.0.1",
        f"--config={stages}",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
        log.close()


async def until(what: str, condition: Any, seconds: float, pause: float = 0.02) -> Any:
    """Poll; a bound on every wait."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not (found := await condition()):
        if asyncio.get_running_loop().time() > deadline:
            raise RuntimeError(f"{what}: not within {seconds:.0f} s")
        await asyncio.sleep(pause)
    return found
