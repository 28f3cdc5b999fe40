"""Operators as processes of their own, against the API server of the tests."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from bounds import BOUND

from .world import IMAGE, World, until


class Operator:
    """One process; ended with the test."""

    def __init__(self, world: World, folder: Path, name: str, **variables: str) -> None:
        self.log = folder / f"{name}.log"
        command = [
            sys.executable, "-m", "neuron_operator", "--http-port=0", "--namespaces", world.namespace,
            "--lease-namespace", world.namespace, "--image-cpu", IMAGE, "--poll-seconds=0.5", "--status-seconds=0.1",
            "--log-format=json",
        ]  # fmt: skip
        environment = os.environ | {"KUBECONFIG": str(world.plane.kubeconfig), "POD_NAME": name} | variables
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=environment, stderr=log)

    def lines(self) -> list[str]:
        """Messages of the log so far."""
        found = []
        for line in self.log.read_text().splitlines():
            if line.startswith("{"):
                found.append(str(json.loads(line)["message"]))
        return found

    def said(self, words: str) -> bool:
        return any(words in line for line in self.lines())

    async def leads(self) -> None:
        async def check() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return self.said("is held by")

        await until(f"{self.log.stem} to lead", check)

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of one of the operator's own paths."""
        port = next(line.split()[3].rstrip(";") for line in self.lines() if line.startswith("listening on port"))
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=BOUND) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as problem:
            return problem.code, problem.read().decode()

    async def ended(self, bound: float) -> int:
        """Exit status."""
        return await asyncio.to_thread(self.process.wait, bound)


async def pods_are(world: World, *names: str) -> dict[str, str]:
    """Wait until the job has exactly these pods; their UIDs."""

    async def check() -> dict[str, str] | None:
        pods = [pod for pod in await world.pods() if "deletionTimestamp" not in pod["metadata"]]
        found = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods}
        return found if tuple(found) == names else None

    return await until(f"pods {names}", check)
