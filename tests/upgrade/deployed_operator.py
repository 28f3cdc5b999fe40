"""The chart's Deployment without a node: its container runs as a process, with the arguments that Helm has rendered and
the rights of its service account. Each of Helm's revisions ends the process of the one before, as a roll-out does."""

import json
import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from bounds import BOUND
from controlplane import toolchain
from controlplane.controlplane import ControlPlane
from integration.earlier_release import Release
from integration.world import until

RELEASE, NAMESPACE = "neuron-training-operator", "neuron-training-system"


class DeployedOperator:
    """See the module."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self._plane, self._folder, self._numbers = plane, folder, count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "operator-0.log"

    def helm(self, *arguments: str | Path) -> str:
        """Run Helm; raises with its words."""
        program = toolchain.programs("helm")["helm"]
        environment = os.environ | {"KUBECONFIG": str(self._plane.kubeconfig)}
        done = subprocess.run(
            [program, *map(str, arguments), "--namespace", NAMESPACE],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=BOUND,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def roll_out(self, release: Release) -> None:
        """Replace the running operator by the code of a release, as the Deployment now says."""
        await self.end()
        self._process = self._start(release)
        await until("the operator to lead", self._leads)

    def _start(self, release: Release) -> subprocess.Popen[bytes]:
        number = next(self._numbers)
        self.log = self._folder / f"operator-{number}.log"
        command = [sys.executable, "-m", "neuron_operator", *self._arguments(), "--http-port=0"]
        names = {"POD_NAME": f"operator-{number}", "POD_NAMESPACE": NAMESPACE, "KUBECONFIG": str(self._kubeconfig())}
        with self.log.open("w") as log:
            return subprocess.Popen(command, env=os.environ | names | release.variables, stderr=log)

    async def _leads(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        return "is held by" in self.log.read_text()

    async def end(self) -> None:
        """As a kubelet ends a container."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            assert self._process.wait(BOUND) == 0, self.log.read_text()

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _arguments(self) -> list[str]:
        """Those of the container; the failure table is a file of the test with the ConfigMap's text."""
        deployment = self._object("deployment", RELEASE)
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        (volume,) = [v for v in deployment["spec"]["template"]["spec"]["volumes"] if "configMap" in v]
        table = self._folder / "failure-table.yaml"
        table.write_text(self._object("configmap", volume["configMap"]["name"])["data"]["failure-table.yaml"])
        arguments = [str(argument) for argument in container["args"]]
        return [a for a in arguments if not a.startswith("--failure-table")] + [f"--failure-table={table}"]

    def _object(self, kind: str, name: str) -> dict[str, Any]:
        text = self._plane.kubectl("get", kind, name, "--namespace", NAMESPACE, "--output", "json")
        return dict(json.loads(text))

    def _kubeconfig(self) -> Path:
        """As the operator logs in: with its account's token and nothing else."""
        content = yaml.safe_load(self._plane.kubeconfig.read_text())
        token = self._plane.kubectl("create", "token", RELEASE, "--namespace", NAMESPACE).strip()
        content["users"][0]["user"] = {"token": token}
        path = self._folder / "account.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(content))
        return path
