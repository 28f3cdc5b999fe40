"""How many processes a node has: `trainer.devices` is meant per node, or as the total of all nodes (A1).

The document says total, the launcher and all published files say per node. Per node is taken where it can be; a number
that no node can hold, but that a total explains, is read as a total, with a warning. `spec.deviceCountScope` decides.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.platform.instances import instance_of
from neuron_api.resource.spec import DeviceCountScope

from .loader import Loaded


def resolve_device_count(
    loaded: Loaded,
    again: Callable[[Sequence[str]], Loaded],
    instance_type: str | None,
    meaning: DeviceCountScope = DeviceCountScope.AUTO,
) -> Loaded:
    """The same configuration with `trainer.devices` per node. `again` loads it with further overrides, so that what is
    interpolated from the key follows; `instance_type`: None on CPU, or when it is not known."""
    if loaded.config is None:
        return loaded
    count, told = per_node(loaded.config, instance_type, meaning)
    if count != loaded.config.trainer.devices:
        loaded = again([override(count)])
    return replace(loaded, findings=(*loaded.findings, *told))


def override(count: int) -> str:
    """What the operator and, in the pod, the launcher load the configuration with."""
    return f"trainer.devices={count}"


def per_node(
    config: TrainingConfig, instance_type: str | None, meaning: DeviceCountScope
) -> tuple[int, tuple[Finding, ...]]:
    """Processes of a node, and what is to be said about it."""
    given, nodes, key = config.trainer.devices, config.trainer.num_nodes, "trainer.devices"
    if meaning is DeviceCountScope.TOTAL:
        if given % nodes:
            message = f"{given} in total (spec.deviceCountScope) cannot be divided over {nodes} nodes."
            return given, (make_finding(3011, key, message, f"Use a multiple of {nodes}."),)
        return given // nodes, ()
    cores = _cores(config, instance_type)
    is_total = cores is not None and given > cores and given % nodes == 0 and given // nodes <= cores
    if meaning is DeviceCountScope.PER_NODE or not is_total:
        return given, ()
    message = (
        f"{given} is more than the {cores} logical NeuronCores of {instance_type}: it is read as the total of {nodes} "
        f"nodes, {given // nodes} processes each."
    )
    return given // nodes, (make_finding(3012, key, message),)


def _cores(config: TrainingConfig, instance_type: str | None) -> int | None:
    instance = instance_of(instance_type)
    return instance.logical_cores(config.trainer.lnc or instance.default_lnc) if instance else None
