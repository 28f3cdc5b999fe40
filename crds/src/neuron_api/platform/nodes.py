"""The nodes that a job's `spec.platform` asks for."""

from collections.abc import Iterator
from typing import Final

from neuron_api.findings.finding import Finding, warning
from neuron_api.resource.spec import Accelerator, Platform

from .instances import InstanceType, NodeDevices, instance_of

_ONLY_NEURON: Final = {"neuron_devices": "neuronDevices", "efa_interfaces": "efaInterfaces"}
_NOT_CPU: Final = {**_ONLY_NEURON, "instance_type": "instanceType"}
"""Fields of `spec.platform`, and how they are written."""


def stated_devices(platform: Platform) -> NodeDevices:
    """Return what a job says about the devices of a node."""
    return NodeDevices(platform.neuron_devices, platform.efa_interfaces)


def instance(platform: Platform) -> InstanceType | None:
    """Return the Trainium instance type; None for other accelerators, and if its devices are not known."""
    if platform.accelerator is not Accelerator.NEURON:
        return None
    return instance_of(platform.instance_type, stated_devices(platform))


def contradictions(platform: Platform) -> Iterator[Finding]:
    """Yield a warning for each field that changes nothing, or that differs from what is published and is used."""
    accelerator = platform.accelerator
    if accelerator is not Accelerator.NEURON:
        fields = _NOT_CPU if accelerator is Accelerator.CPU else _ONLY_NEURON
        for name in (name for name in fields if getattr(platform, name) is not None):
            key, remedy = f"spec.platform.{fields[name]}", "Leave it out, or set spec.platform.accelerator to Neuron."
            yield warning(key, f"it has no effect with accelerator {accelerator}.", remedy)
        return
    if (published := instance_of(platform.instance_type)) is None:
        return
    chips = "neuronDevices", platform.neuron_devices, published.chips
    interfaces = "efaInterfaces", platform.efa_interfaces, published.efa
    for name, stated, number in (chips, interfaces):
        if stated is not None and number is not None and stated != number:
            message = f"{stated} is used, and {published.name} has {number}."
            yield warning(f"spec.platform.{name}", message, "Leave it out, unless status.allocatable of a node has it.")
