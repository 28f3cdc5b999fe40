"""The local cluster's node as one of Trainium: the instance type's label, its taint, and devices by the kubelet's own
API. No device is there: a stand-in, or PyTorch/XLA's CPU, computes.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console

from demonstration.kubectl import Kubectl, wait_for
from demonstration.setting import chapter

from .cluster_fixture import Ground
from .device_plugin import DevicePlugin

NEURON, EFA = "aws.amazon.com/neuron", "vpc.amazonaws.com/efa"
COUNT: Final = 2
"""Devices of each resource."""
_LABEL: Final = "node.kubernetes.io/instance-type"
_PLUGINS: Final = Path("var/lib/kubelet/device-plugins")


@contextmanager
def advertised(console: Console, ground: Ground, instance_type: str, resources: Sequence[str]) -> Iterator[None]:
    """Make it one, and at the end what it was."""
    kubectl, node = ground.kubectl, _name(ground.kubectl)
    wanted = dict.fromkeys(resources, str(COUNT))
    with ExitStack() as stack:
        with chapter(console, f"node: label {instance_type}, taint, device plugins"):
            kubectl.run("label", "node", node, f"{_LABEL}={instance_type}", "--overwrite")
            stack.callback(kubectl.run, "label", "node", node, f"{_LABEL}-", check=False)
            for resource in resources:
                stack.enter_context(DevicePlugin(ground.inside(Path("/") / _PLUGINS), resource, COUNT))
            wait_for("the kubelet to advertise them", lambda: _allocatable(kubectl, resources) == wanted, seconds=60)
            kubectl.run("taint", "node", node, f"{NEURON}=present:NoSchedule", "--overwrite")
            stack.callback(kubectl.run, "taint", "node", node, f"{NEURON}-", check=False)
        yield


def _name(kubectl: Kubectl) -> str:
    return kubectl.run("get", "nodes", "--output", "jsonpath={.items[0].metadata.name}").strip()


def _allocatable(kubectl: Kubectl, resources: Sequence[str]) -> dict[str, str]:
    allocatable = kubectl.get("node", _name(kubectl))["status"]["allocatable"]
    return {resource: str(allocatable.get(resource, "0")) for resource in resources}
