"""What the command line says about the machines: it wins over what a job says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neuron_api.platform.instances import NodeDevices
from neuron_api.resource.accelerator import Accelerator

from .documents import Source


@dataclass(frozen=True, slots=True)
class PlatformFlags:
    """As given; None where a flag is not."""

    accelerator: str | None = None
    instance_type: str | None = None
    neuron_devices: int | None = None
    efa_interfaces: int | None = None

    def accelerator_of(self, source: Source) -> Accelerator:
        """Return what a source is for; a word that is no accelerator is the envelope's to report."""
        name = self.accelerator or _platform(source).get("accelerator")
        return Accelerator(name) if name in list(Accelerator) else Accelerator.NEURON

    def instance_type_of(self, source: Source) -> str | None:
        """Return the instance type of its nodes."""
        instance_type = self.instance_type or _platform(source).get("instanceType")
        return str(instance_type) if instance_type else None

    def stated(self, source: Source) -> NodeDevices:
        """Return what is said about the devices of a node; what is no number is the envelope's to report."""
        return NodeDevices(
            _number(self.neuron_devices, _platform(source).get("neuronDevices")),
            _number(self.efa_interfaces, _platform(source).get("efaInterfaces")),
        )

    def fields(self) -> dict[str, str | int]:
        """Return what is given as fields of `spec.platform`, of types that YAML has: the enumeration's name is text."""
        named = {
            "accelerator": str(self.accelerator) if self.accelerator is not None else None,
            "instanceType": self.instance_type,
            "neuronDevices": self.neuron_devices,
            "efaInterfaces": self.efa_interfaces,
        }
        return {name: value for name, value in named.items() if value is not None}


def _platform(source: Source) -> Mapping[str, Any]:
    of_job = (source.spec or {}).get("platform")
    return of_job if isinstance(of_job, dict) else {}


def _number(flag: int | None, of_job: Any) -> int | None:
    if flag is not None:
        return flag
    return of_job if type(of_job) is int else None
