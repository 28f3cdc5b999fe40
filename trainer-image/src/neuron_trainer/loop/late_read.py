"""Numbers that are read from the device some time after they were made, without waiting for what was given to it since.

A blocking read waits for everything in the device's queue. So the copy to host memory is put into the queue right after
what makes the numbers, and an event after the copy is all that is waited for.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from neuron_trainer import accelerators


class LateRead:
    """Scalars of one dtype, on their way to the host; on the CPU they are there."""

    def __init__(self, values: Sequence[Tensor]) -> None:
        self._values = values
        self._host: Tensor | None = None
        device = values[0].device
        if device.type != "cpu" and accelerators.can_pin(device):
            stacked = torch.stack(list(values))
            self._host = accelerators.host_buffer(stacked.shape, stacked.dtype, device)
            self._host.copy_(stacked, non_blocking=True)
            self._copied = torch.get_device_module(device).Event()
            self._copied.record()

    def numbers(self) -> list[float]:
        """Return the numbers; waits until they are there."""
        host = self._host
        if host is None:  # on the CPU, or a device without pinned memory, where each copy waits
            host = torch.stack(list(self._values))
        else:
            self._copied.synchronize()
        numbers: list[float] = host.tolist()
        return numbers
