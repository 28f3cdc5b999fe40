"""What a checkpoint is loaded into: on the CPU the run's own tensors; for a device host memory, and from there each
tensor with one copy, whatever it was split over when it was saved."""

from collections.abc import Mapping

import torch
from torch import Tensor

from .staging import CheckpointTensor


class Targets:
    """The tensors of a run that are to be filled."""

    def __init__(self, tensors: Mapping[str, CheckpointTensor]) -> None:
        self._copies = [
            (torch.empty(item.local.shape, dtype=item.local.dtype), item.local)
            if not item.local.is_cpu
            else (item.local, item.local)
            for item in tensors.values()
        ]
        self.placed: dict[str, Tensor] = {
            name: item.placed(host) for (name, item), (host, _) in zip(tensors.items(), self._copies, strict=True)
        }
        """What torch.distributed.checkpoint fills, by name, in host memory."""

    @torch.no_grad()
    def fill(self) -> None:
        """Copy what was loaded to the device; nothing to do on the CPU."""
        for host, local in self._copies:
            if host is not local:
                local.copy_(host)
        self._copies.clear()
