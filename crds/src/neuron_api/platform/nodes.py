"""The nodes that a job's `spec.platform` asks for."""

from neuron_api.resource.spec import Accelerator, Platform

from .instances import InstanceType, NodeDevices, instance_of


def stated_devices(platform: Platform) -> NodeDevices:
    """Return what a job says about the devices of a node."""
    return NodeDevices(platform.neuron_devices, platform.efa_interfaces)


def instance(platform: Platform) -> InstanceType | None:
    """Return the Trainium instance type; None for other accelerators, and if its devices are not known."""
    if platform.accelerator is not Accelerator.NEURON:
        return None
    return instance_of(platform.instance_type, stated_devices(platform))
