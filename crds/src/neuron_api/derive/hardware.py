"""The hardware of the processes: a generation of Trainium, CPU or CUDA; the instance type where it follows from the
configuration; and what compiles the blocks of a model there: `model.compile`, or the compiler of the device.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.platform.instances import (
    AS_PUBLISHED,
    INSTANCE_TYPES,
    InstanceType,
    NodeDevices,
    generation_of,
    instance_of,
)
from neuron_api.resource.accelerator import Accelerator, Stack

AUTO_COMPILE: Final = "auto"
NO_COMPILE: Final = "eager"

COMPILER_OF_DEVICE: Final[Mapping[str, str]] = {"neuron": "neuron", "cuda": "inductor"}
"""Backends of `torch.compile` by the device that has one; on another device nothing is compiled by default."""


XLA_DEVICE: Final = "xla"
"""PyTorch/XLA's device, where whole steps are compiled, whatever `model.compile` says."""
_KEEPS_GRAPHS: Final = ("inductor", "neuron")
"""Backends of `torch.compile` that keep their graphs in files; what the others make ends with the process."""


def keeps_graphs(config: TrainingConfig, device: str) -> bool:
    """Return whether what is compiled on a device is found by the next start."""
    return device == XLA_DEVICE or compiler_of(config, device) in _KEEPS_GRAPHS


def compiler_of(config: TrainingConfig, device: str) -> str | None:
    """Return the backend of `torch.compile` on a device of PyTorch's name; None: nothing is compiled."""
    chosen = config.model.compile
    if chosen == NO_COMPILE:
        return None
    return COMPILER_OF_DEVICE.get(device) if chosen == AUTO_COMPILE else chosen


_WHOLE_NODE: Final = {"trn1": "trn1.32xlarge", "trn2": "trn2.48xlarge"}


@dataclass(frozen=True, slots=True)
class Hardware:
    """A generation of Trainium, `cpu` or `cuda`."""

    name: str
    """`trn1`, `trn2`, `trn3`, `cpu` or `cuda`; an instance type without Trainium as it was written."""
    instance_type: str | None
    """None without Trainium."""
    is_assumed: bool = False
    """The instance type was not set, but follows from `trainer.lnc` and `trainer.devices`."""
    stated: NodeDevices = AS_PUBLISHED
    """What the job says about the devices of a node."""

    @property
    def instance(self) -> InstanceType | None:
        """Return the instance type; None without Trainium, or with an unknown number of devices."""
        return instance_of(self.instance_type, self.stated)

    @property
    def is_native(self) -> bool:
        """Return whether the backend `native` trains there, and not `xla`."""
        generation = generation_of(self.instance_type)
        return generation is None or generation.stack is Stack.TORCHNEURON


def from_config(
    config: TrainingConfig,
    accelerator: Accelerator,
    instance_type: str | None,
    stated: NodeDevices = AS_PUBLISHED,
) -> Hardware:
    """Return the hardware of the instance type if it is set, else of the configuration."""
    if accelerator is not Accelerator.NEURON:
        return Hardware(accelerator.device, None)
    if instance_type is not None:
        chip = generation_of(instance_type)
        return Hardware(chip.name if chip else instance_type, instance_type, stated=stated)
    name = generation(config)
    return Hardware(name, _WHOLE_NODE[name], is_assumed=True)


def generation(config: TrainingConfig) -> str:
    """Return `trn1` or `trn2`. lnc 2 exists on Trn2 only; without it (A2) a Trn1 node holds at most 32 processes. More
    than any node holds is the total of all nodes (A1)."""
    small, large = (INSTANCE_TYPES[_WHOLE_NODE[name]] for name in ("trn1", "trn2"))
    lnc, count = config.trainer.lnc, config.trainer.devices
    if count > large.logical_cores(lnc or large.default_lnc):
        count = count // config.trainer.num_nodes
    return "trn2" if lnc == 2 or count > small.logical_cores(small.default_lnc) else "trn1"
