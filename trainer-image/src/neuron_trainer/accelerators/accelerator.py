"""What the trainer asks about a kind of device; nothing else in the trainer compares names of devices."""

from dataclasses import dataclass

import torch
from torch.distributed import ProcessGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """A kind of device. Its facts are read anywhere; importing it loads no runtime and touches no device."""

    name: str
    """PyTorch's device type."""
    collectives: str
    """The c10d backend of its tensors."""
    widest: torch.dtype
    """The widest floating-point type that it computes with."""
    compiler: str | None
    """The backend of `torch.compile` that runs use unless they name another; None: eager."""

    @property
    def is_host(self) -> bool:
        """Return whether its tensors are in host memory, so that reading one waits for nothing."""
        return self.name == "cpu"

    def has_send(self, group: ProcessGroup) -> bool:
        """Return whether tensors of this device can be sent from one process of a group to another.

        A process group that is written in Python may have no `send`; PyTorch's composite one has that of its backends.
        """
        return type(group) is ProcessGroup or type(group).send is not ProcessGroup.send
