"""A scheduler as a child process, and the nodes that it may use."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controlplane.shell import tail, wait_until
from integration.world import Json, World, manifest
from neuron_operator.kube import gateway as api


@contextmanager
def running(
    command: list[str | Path], log: Path, kubeconfig: Path, environment: dict[str, str] | None = None
) -> Iterator[None]:
    """Ended with the test; its last words are in the failure."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env=os.environ | {"KUBECONFIG": str(kubeconfig)} | (environment or {}),
        )
        try:
            yield
            assert process.poll() is None, f"{command[0]} has ended:\n{tail(log)}"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def wait_for_line(log: Path, text: str, seconds: float = 60) -> None:
    wait_until(
        f"{text!r} in {log.name}",
        lambda: text in log.read_text(errors="replace"),
        seconds=seconds,
        hint=lambda: tail(log),
    )


async def node(world: World, name: str, cpu: str = "1") -> None:
    """A node with room, as a kubelet would register it."""
    labels = {"kubernetes.io/hostname": name}
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}}
    await world.cluster.create(api.NODE, body)
    room = {"cpu": cpu, "memory": "16Gi", "pods": "10"}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
    status = {"capacity": room, "allocatable": room, "conditions": [ready]}
    patch = json.dumps({"status": status})  # a replace would race with the node controller
    world.plane.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "--patch", patch)


def job(gang: str, cpu: str = "1", **scheduling: object) -> Json:
    """Two pods that each ask for so much."""
    found = manifest()
    found["spec"]["scheduling"] = {"gang": gang, **scheduling}
    resources = {"requests": {"cpu": cpu}}
    containers = [{"name": "trainer", "resources": resources}]
    # Nobody sends a node's heartbeats here, so it is tainted after a while.
    found["spec"]["podTemplate"] = {"spec": {"containers": containers, "tolerations": [{"operator": "Exists"}]}}
    return found
