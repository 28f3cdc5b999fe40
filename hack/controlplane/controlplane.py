"""A real API server for tests: etcd and kube-apiserver as children of this process, in about 3 s.

    with ControlPlane.start(tmp_path, components={"etcd", "kube-apiserver"}) as control_plane:
        control_plane.kubectl("apply", "-f", "crds/")
        control_plane.stop_component("kube-apiserver")     # and start_component, to see who copes

Needs neither root nor Linux, no fixed port, no file outside the given directory. Whatever happens to
this process, its children end with it: see `supervisor.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from controlplane import component, toolchain
from controlplane.apiclient import ApiClient
from controlplane.controlprograms import ControlPrograms, Ports
from controlplane.errors import ClusterError, StartFailed
from controlplane.freeport import free_ports
from controlplane.locations import HACK
from controlplane.shell import run, tail, wait_until

_READY_SECONDS = 90.0
_PORT_TRIES = 3
_PATIENT_ONLY_SO_LONG = {"kube-controller-manager", "kube-scheduler"}
"""They end when the API server is not healthy after 10 s, which it is not on a busy machine."""


class ControlPlane:
    """A running control plane. Made by `start`, ended by `stop` or by leaving the `with`."""

    def __init__(self, directory: Path, names: set[str], api_flags: Sequence[str] = ()) -> None:
        self.directory = directory
        self._names = names
        programs = toolchain.programs(*names, "kubectl")
        self._kubectl = programs["kubectl"]
        etcd, peer, api = free_ports(3)
        control = ControlPrograms(directory, Ports(etcd, peer, api), programs, api_flags=api_flags)
        self.kubeconfig: Path = control.kubeconfig
        self.url: str = control.url
        self.authority, self.admin = control.authority, control.admin
        self._client = ApiClient(control.url, control.authority, control.admin)
        logs = directory / "logs"
        logs.mkdir(exist_ok=True)
        component.save(directory / "components.json", control.components(names))
        self._supervisor = subprocess.Popen(
            [sys.executable, "-m", "controlplane.supervisor", directory / "components.json", logs],
            env=os.environ | {"PYTHONPATH": str(HACK)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the tests, which stop us in their own order
        )

    @classmethod
    def start(
        cls, state: Path, components: Collection[str] = ("etcd", "kube-apiserver"), api_flags: Sequence[str] = ()
    ) -> ControlPlane:
        """Start and wait until the API answers. Builds the programs first where they are missing (minutes)."""
        names = set(components)
        if unknown := names - {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}:
            raise ClusterError(f"no such control plane component: {', '.join(sorted(unknown))}")
        for attempt in range(_PORT_TRIES):
            directory = state / f"control-plane-{os.getpid()}-{attempt}"
            directory.mkdir(parents=True)
            plane = cls(directory, names, api_flags)
            try:
                plane.wait_ready()
            except BaseException as error:
                last = attempt == _PORT_TRIES - 1
                plane.stop(keep_files=last)
                if last or not (isinstance(error, StartFailed) and "address already in use" in str(error)):
                    raise
            else:
                return plane
        raise AssertionError("unreachable")

    def wait_ready(self, seconds: float = _READY_SECONDS) -> None:
        """Wait until the API server is ready and has made the `default` namespace."""
        wait_until("readiness of the API server", self._ready, seconds=seconds, hint=self._why)

    def _ready(self) -> bool:
        ended = self._names - self.status()["running"].keys()
        for name in ended & _PATIENT_ONLY_SO_LONG:
            self._command(f"start {name}")
        if ended := ended - _PATIENT_ONLY_SO_LONG:
            raise StartFailed(f"{', '.join(ended)} ended while starting. {self._why()}")
        return self._client.ok("/readyz") and self._client.ok("/api/v1/namespaces/default")

    def _why(self) -> str:
        return "\n".join(tail(self.log(name)) for name in sorted(self._names))

    @property
    def tls(self) -> ssl.SSLContext:
        """The administrator's identity, and trust in this server."""
        return self._client.tls

    def log(self, name: str) -> Path:
        """Log file of a component."""
        return self.directory / "logs" / f"{name}.log"

    def kubectl(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Run kubectl as cluster administrator; its standard output."""
        return run(self._kubectl, f"--kubeconfig={self.kubeconfig}", *arguments, stdin=stdin)

    def stop_component(self, name: str) -> None:
        """Kill a component (SIGKILL) and wait until it is gone."""
        self._command(f"stop {name}")

    def start_component(self, name: str) -> None:
        """Start a stopped component and wait until the API is ready again."""
        self._command(f"start {name}")
        self.wait_ready()

    def signal_component(self, name: str, number: int) -> None:
        """Send a signal: SIGSTOP and SIGCONT make an API server that accepts connections and says nothing."""
        self._command(f"signal {name} {number}")

    def status(self) -> dict[str, Any]:
        """`running` (name to pid) and `exits` (name to last exit status)."""
        return self._command("status")

    def _command(self, line: str) -> dict[str, Any]:
        assert self._supervisor.stdin is not None
        assert self._supervisor.stdout is not None
        self._supervisor.stdin.write(line + "\n")
        self._supervisor.stdin.flush()
        answer: dict[str, Any] = json.loads(self._supervisor.stdout.readline())
        if "error" in answer:
            raise ClusterError(answer["error"])
        return answer

    def stop(self, *, keep_files: bool = False) -> None:
        """Stop everything, wait for it, remove the directory. May be called twice."""
        if self._supervisor.stdin is not None:
            self._supervisor.stdin.close()
        self._supervisor.wait(timeout=30)
        if self._supervisor.stdout is not None:
            self._supervisor.stdout.close()
        if not keep_files:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> ControlPlane:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
