"""How many processes a node has: `trainer.devices` counts those of one node, or of all nodes (A1).

The documentation says total; the launcher and all published files say per node. Per node is assumed unless no node can
hold that number and a total would fit; then it is read as a total, with a warning. `spec.deviceCountScope` overrides
this.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.platform.instances import InstanceType
from neuron_api.resource.spec import DeviceCountScope

from .loader import Loaded


def resolve_device_count(
    loaded: Loaded,
    reload: Callable[[Sequence[str]], Loaded],
    instance: InstanceType | None,
    scope: DeviceCountScope = DeviceCountScope.AUTO,
) -> Loaded:
    """Return the configuration with `trainer.devices` per node.

    `reload` loads it with further overrides, so that interpolations of the key follow. `instance` is None without
    Trainium, or when it is not known.
    """
    if loaded.config is None:
        return loaded
    count, count_findings = processes_per_node(loaded.config, instance, scope)
    if count != loaded.config.trainer.devices:
        loaded = reload([as_override(count)])
    return replace(loaded, findings=(*loaded.findings, *count_findings))


def as_override(count: int) -> str:
    """Return the override with which the operator, and the launcher in the pod, load the configuration."""
    return f"trainer.devices={count}"


def processes_per_node(
    config: TrainingConfig, instance: InstanceType | None, scope: DeviceCountScope
) -> tuple[int, tuple[Finding, ...]]:
    """Return the processes of a node, and findings about how the number was read."""
    count, nodes, key = config.trainer.devices, config.trainer.num_nodes, "trainer.devices"
    if scope is DeviceCountScope.TOTAL:
        if count % nodes:
            message = f"{count} in total (spec.deviceCountScope) cannot be divided over {nodes} nodes."
            return count, (make_finding(3011, key, message, f"Use a multiple of {nodes}."),)
        return count // nodes, ()
    cores = instance.logical_cores(config.trainer.lnc or instance.default_lnc) if instance else None
    is_total = cores is not None and count > cores and count % nodes == 0 and count // nodes <= cores
    if scope is DeviceCountScope.PER_NODE or not is_total:
        return count, ()
    node = instance.name if instance else "a node"
    message = (
        f"{count} is more than the {cores} logical NeuronCores of {node}: it is read as the total of {nodes} nodes, "
        f"{count // nodes} processes each."
    )
    return count // nodes, (make_finding(3012, key, message),)
