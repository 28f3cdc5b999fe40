"""The hardware of the processes: Trn1, Trn2 or CPU; the instance type if it follows from the configuration."""

from dataclasses import dataclass
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.platform.instances import HYPERPOD, INSTANCE_TYPES
from neuron_api.resource.spec import Accelerator

_WHOLE_NODE: Final = {"trn1": "trn1.32xlarge", "trn2": "trn2.48xlarge"}


@dataclass(frozen=True, slots=True)
class Hardware:
    """A generation of Trainium, or `cpu`."""

    name: str
    """`trn1`, `trn2` or `cpu`."""
    instance_type: str | None
    """None on CPU."""
    is_assumed: bool = False
    """The instance type was not set, but follows from `trainer.lnc` and `trainer.devices`."""


def from_config(config: TrainingConfig, accelerator: Accelerator, instance_type: str | None) -> Hardware:
    """Return the hardware of the instance type if it is set, else of the configuration."""
    if accelerator is Accelerator.CPU:
        return Hardware("cpu", None)
    if instance_type is not None:
        return Hardware(instance_type.removeprefix(HYPERPOD).partition(".")[0].rstrip("nu"), instance_type)
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
