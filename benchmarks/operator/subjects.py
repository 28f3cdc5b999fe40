"""Who is measured: this operator, Kubeflow's as shipped and with its limits raised. One runs at a time."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import peers
import shapes
import yaml
from servers import Servers, until

from controlplane.freeport import free_ports
from controlplane.shell import tail

_MOUNTED = Path("/tmp/k8s-webhook-server/serving-certs")
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Subject:
    """A running operator."""

    name: str
    process: subprocess.Popen[bytes]

    @property
    def seconds(self) -> float:
        """CPU time so far."""
        return cpu_seconds([self.process.pid])

    @property
    def megabytes(self) -> float:
        """Resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) / 1024 if found else 0.0


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of processes."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


@asynccontextmanager
async def running(name: str, servers: Servers, *flags: str) -> AsyncIterator[Subject]:
    """A subject by name, ready for work; ended and gone afterwards."""
    folder = servers.audit_log.parent
    start = {"ours": _ours, "tuned": _tuned, "shipped": _shipped}[name]
    with (folder / f"{name}.log").open("ab") as log:
        temporary = folder / f"tmp-{name}"
        temporary.mkdir(exist_ok=True)
        process = await start(servers, temporary, log, flags)
        try:
            yield Subject(name, process)
        finally:
            process.terminate()
            try:
                await asyncio.to_thread(process.wait, 20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            shutil.rmtree(temporary, ignore_errors=True)
            if name == "shipped":
                shutil.rmtree(_MOUNTED.parent, ignore_errors=True)


async def _ours(servers: Servers, temporary: Path, log: Any, flags: Any) -> subprocess.Popen[bytes]:
    port = free_ports(1)[0]
    command = [
        sys.executable, "-m", "neuron_operator", f"--http-port={port}", "--image-cpu", shapes.IMAGE, *flags,
    ]  # fmt: skip
    process = subprocess.Popen(command, env=servers.environment(temporary) | {"POD_NAME": "bench"}, stderr=log)  # noqa: ASYNC220
    await until("our operator to lead", lambda: _answers(servers, process, f"http://127.0.0.1:{port}/metrics"), 60)
    return process


async def _tuned(servers: Servers, temporary: Path, log: Any, flags: Any) -> subprocess.Popen[bytes]:
    await _prepare(servers)
    program = peers.programs("tuned")["tuned"]
    return subprocess.Popen([program, *flags], env=servers.environment(temporary), stderr=log)  # noqa: ASYNC220


async def _shipped(servers: Servers, _: Path, log: Any, flags: Any) -> subprocess.Popen[bytes]:
    """Its certificates come from a volume in a cluster; here they are copied to where that would be mounted.

    That place is a constant of its `pkg/cert`; its webhook server looks under the folder for temporary files.
    """
    await _prepare(servers)
    metrics, probe, webhook = free_ports(3)
    program = peers.programs("training-operator")["training-operator"]
    command = [
        program, "--enable-scheme=pytorchjob", f"--metrics-bind-address=:{metrics}",
        f"--health-probe-bind-address=:{probe}", f"--webhook-server-port={webhook}", *flags,
    ]  # fmt: skip
    shutil.rmtree(_MOUNTED, ignore_errors=True)
    process = subprocess.Popen(command, env=servers.environment(_MOUNTED.parents[1]), stderr=log)  # noqa: ASYNC220
    secret = await until("its certificates", lambda: _secret(servers), 60)
    _MOUNTED.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240
    for key, value in secret.items():
        (_MOUNTED / key).write_bytes(base64.b64decode(value))
    await until("it to be ready", lambda: _answers(servers, process, f"http://127.0.0.1:{probe}/readyz"), 90)
    return process


async def _answers(servers: Servers, process: subprocess.Popen[bytes], url: str) -> bool:
    if process.poll() is not None:
        logs = "\n".join(tail(log) for log in servers.audit_log.parent.glob("*.log") if log != servers.audit_log)
        raise RuntimeError(f"{process.args}: ended with {process.returncode}\n{logs}")
    try:
        async with servers.session.get(url) as answer:
            text = await answer.text()
            return answer.status == 200 and ("is_leader" not in text or "is_leader 1" in text)
    except (aiohttp.ClientError, OSError):
        return False


async def _secret(servers: Servers) -> Any:
    found = await servers.call("GET", "/api/v1/namespaces/kubeflow/secrets/training-operator-webhook-cert")
    return found.get("data")


async def _serves(servers: Servers) -> bool:
    try:
        await servers.call("GET", shapes.THEIRS.format("default"))
    except RuntimeError:
        return False
    return True


async def _prepare(servers: Servers) -> None:
    """Once: its kind, its namespace, the Secret and the webhook configuration that its certificates are for."""
    crds = await servers.call("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    if any(one["metadata"]["name"].startswith("pytorchjobs") for one in crds["items"]):
        return
    file = peers.source(
        "kubeflow", "github.com/kubeflow/training-operator", "manifests/base/crds/kubeflow.org_pytorchjobs.yaml"
    )
    text = yaml.load(file.read_text(), yaml.CSafeLoader)
    await servers.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", text)
    await until("their kind to be served", lambda: _serves(servers), 60, 0.2)
    await servers.call("POST", "/api/v1/namespaces", {"metadata": {"name": "kubeflow"}})
    secret = {"metadata": {"name": "training-operator-webhook-cert"}}
    await servers.call("POST", "/api/v1/namespaces/kubeflow/secrets", secret)
    client = {"service": {"name": "training-operator", "namespace": "kubeflow", "path": "/nothing"}}
    webhook = {
        "name": "validator.pytorchjob.training-operator.kubeflow.org", "rules": [], "clientConfig": client,
        "sideEffects": "None", "admissionReviewVersions": ["v1"],
    }  # fmt: skip
    body = {"metadata": {"name": "validator.training-operator.kubeflow.org"}, "webhooks": [webhook]}
    await servers.call("POST", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", body)
