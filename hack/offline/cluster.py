"""The local cluster: up, down, status. Everything it is lies in one state directory and one process tree."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from controlplane import component, requirements, toolchain
from controlplane.apiclient import ApiClient
from controlplane.certificates import Authority
from controlplane.controlprograms import ControlPrograms, Ports
from controlplane.errors import ClusterError, StartFailed
from controlplane.locations import HACK
from controlplane.shell import run, tail, wait_until
from offline import cgroups, imageload, namespaces, nodeprograms, volumes
from offline.identity import ProcessIdentity

MANIFESTS = Path(__file__).parent / "manifests"
"""Objects that every cluster has."""
_CONTROL = {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}
_NODES = "/api/v1/nodes/"
_DNS_PODS = "/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-dns"


class Cluster:
    """One cluster, known by its state directory."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.kubeconfig = state / "kubeconfig"
        self._identity_file = state / "supervisor.json"

    def is_running(self) -> bool:
        """Whether the cluster's process tree lives."""
        identity = ProcessIdentity.load(self._identity_file)
        return identity is not None and identity.alive()

    def up(self) -> None:
        """Bring the cluster up; nothing but a check if it is up already."""
        if self.is_running() and (self.state / "complete").exists():
            self._wait_ready()
            self._offer_volumes()
            return
        requirements.require_root_on_linux()
        namespaces.check_state_directory(self.state)
        requirements.install(requirements.FOR_CLUSTER)
        programs = toolchain.programs(*toolchain.FOR_CLUSTER)
        self.down()
        try:
            self._start(programs)
            self._wait_ready()
        except BaseException:
            self.down(keep_logs=True)
            raise
        (self.state / "complete").touch()

    def _start(self, programs: dict[str, Path]) -> None:
        self.state.mkdir(parents=True)
        for part in ("logs", "log", "volumes"):
            (self.state / part).mkdir()
        for place in nodeprograms.PLACES:
            cgroups.create(place.cgroup(self.state))
        # Held open from here on, so the port cannot be lost; the cluster's network namespace is empty
        # and the others need not be looked for.
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        port = int(listener.getsockname()[1])
        with _step("certificates and configuration"):
            control = ControlPrograms(self.state, Ports(2379, 2380, port), programs, nodeprograms.MAIN.address)
            containerd = requirements.program("containerd")
            assert containerd is not None
            parts = control.components(_CONTROL)
            parts += nodeprograms.components(self.state, control, programs, containerd)
            component.save(self.state / "components.json", parts)
            (self.state / "url").write_text(control.url)
        with listener:
            self._launch(listener.fileno(), port)
        with _step("images of pause and CoreDNS"):
            wait_until("containerd's start", self._containerd_ready, seconds=60, hint=lambda: self._tails("containerd"))
            imageload.load_own(self.state, programs)
        with _step("API server"):
            wait_until("readiness of the API server", self._api_ready, seconds=90, hint=self._why)
        self.kubectl("apply", "--server-side", "-f", MANIFESTS)
        self._offer_volumes()

    def _launch(self, descriptor: int, port: int) -> None:
        """Start the supervisor as process 1 of new namespaces."""
        command = [
            *namespaces.ENTER, sys.executable, "-m", "offline.namespaces", self.state,
            self.state / "components.json", self.state / "logs", "--socket", self.state / "control.sock",
            "--relay-descriptor", str(descriptor), "--relay-port", str(port),
        ]  # fmt: skip
        with (self.state / "logs" / "supervisor.log").open("ab") as log:
            process = subprocess.Popen(
                command, env=_plain_environment(), cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[descriptor], start_new_session=True,
            )  # fmt: skip
        identity = ProcessIdentity.of(process.pid)
        if identity is None:
            raise StartFailed(f"The cluster's first process ended at once. {self._tails('supervisor')}")
        identity.save(self._identity_file)
        process.returncode = 0  # it outlives us on purpose: no warning about an unfinished child

    def _wait_ready(self) -> None:
        with _step("node and cluster DNS"):
            wait_until("readiness of the API server", self._api_ready, seconds=60, hint=self._why)
            wait_until("readiness of the node", self._node_ready, seconds=120, hint=lambda: self._tails("kubelet"))
            wait_until("readiness of cluster DNS", self._dns_ready, seconds=120, hint=lambda: self._tails("kubelet"))

    def down(self, *, keep_logs: bool = False) -> None:
        """End all processes and remove everything. Does nothing if there is nothing."""
        if not self.state.exists():
            return
        requirements.require_root_on_linux()
        if identity := ProcessIdentity.load(self._identity_file):
            inside = identity.children() if identity.alive() else []
            identity.kill()
            for process in [identity, *inside]:  # process 1 is gone only when all its namespace's processes are
                wait_until("end of the cluster's processes", lambda p=process: not p.alive(), seconds=60)
        cgroups.remove(cgroups.cgroup_name(self.state))
        if keep_logs and (self.state / "logs").exists():
            kept = self.state.with_name(f"{self.state.name}-failed-logs")
            shutil.rmtree(kept, ignore_errors=True)
            shutil.move(self.state / "logs", kept)
            print(f"Logs of the failed start: {kept}", file=sys.stderr)
        shutil.rmtree(self.state)

    def command(self, line: str) -> dict[str, Any]:
        """Send a line to the supervisor (`status`, `stop NAME`, `start NAME`, …)."""
        if not self.is_running():
            raise ClusterError(f"No cluster is running with its state in {self.state}: `hack/cluster up` starts one.")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.state / "control.sock"))
            connection.sendall(line.encode() + b"\n")
            answer: dict[str, Any] = json.loads(connection.makefile().readline())
        if "error" in answer:
            raise ClusterError(answer["error"])
        return answer

    def kubectl(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Run kubectl as cluster administrator; its standard output."""
        return run(toolchain.programs("kubectl")["kubectl"], f"--kubeconfig={self.kubeconfig}", *arguments, stdin=stdin)

    def _offer_volumes(self) -> None:
        existing = self.client().items("/api/v1/persistentvolumes")
        released, objects = volumes.manifests(self.state, existing)
        if released:
            self.kubectl("delete", "persistentvolume", *released)
        self.kubectl("apply", "--server-side", "-f", "-", stdin=objects)

    def client(self) -> ApiClient:
        """GETs as administrator, without the cost of a kubectl."""
        authority = Authority(self.state / "pki")
        admin = authority.leaf("admin", user="local-admin", group="system:masters")
        return ApiClient((self.state / "url").read_text(), authority, admin)

    def _api_ready(self) -> bool:
        if not self.is_running():
            raise StartFailed(f"The cluster's first process ended. {self._tails('supervisor')}")
        client = self.client()
        return client.ok("/readyz") and client.ok("/api/v1/namespaces/kube-system")

    def has_spare_node(self) -> bool:
        """Whether it runs and is ready."""
        running = self.command("status")["running"]
        parts = {f"{name}{nodeprograms.SPARE.suffix}" for name in ("containerd", "kubelet")}
        return parts <= running.keys() and self._node_ready(nodeprograms.SPARE)

    def add_spare_node(self) -> None:
        """A second node, with a containerd of its own that has only the cluster's images: see `imageload`."""
        spare = nodeprograms.SPARE
        self.command(f"start containerd{spare.suffix}")
        wait_until(f"start of containerd{spare.suffix}", lambda: self._containerd_ready(spare), seconds=60)
        imageload.load_own(self.state, toolchain.programs("pause", "coredns"), spare)
        self.command(f"start kubelet{spare.suffix}")
        wait_until(f"readiness of {spare.name}", lambda: self._node_ready(spare), seconds=120)

    def kill_spare_node(self) -> None:
        """As a power cut does: kubelet, containerd and all that runs in the node's pods end at once."""
        spare = nodeprograms.SPARE
        for name in ("kubelet", "containerd"):
            self.command(f"stop {name}{spare.suffix}")
        cgroups.kill(spare.cgroup(self.state))

    def _node_ready(self, place: nodeprograms.Place = nodeprograms.MAIN) -> bool:
        status, body = self.client().get(_NODES + place.name)
        return status == 200 and _is_ready(json.loads(body))

    def _dns_ready(self) -> bool:
        return any(_is_ready(pod) for pod in self.client().items(_DNS_PODS))

    def _containerd_ready(self, place: nodeprograms.Place = nodeprograms.MAIN) -> bool:
        """Whether it takes a connection: one that was killed leaves its socket's file behind."""
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(str(place.containerd_socket(self.state))) == 0

    def _why(self) -> str:
        return self._tails("etcd", "kube-apiserver")

    def _tails(self, *names: str) -> str:
        return "\n".join(tail(self.state / "logs" / f"{name}.log") for name in names)


def _is_ready(thing: dict[str, Any]) -> bool:
    conditions = thing.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _plain_environment() -> dict[str, str]:
    """What the cluster's programs inherit: no proxy, no credentials, nothing of the caller's shell."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "PYTHONPATH": str(HACK), "HOME": "/root", "LANG": "C.UTF-8", "TMPDIR": "/tmp"}


@contextmanager
def _step(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"  {what}: {time.monotonic() - began:.1f} s", flush=True)
