"""Lightning's view of a run's device: it is there already, and Lightning does nothing about it."""

from typing import Any

import torch
from lightning.pytorch.accelerators import Accelerator


class OpenedDevice(Accelerator):  # type: ignore[misc]
    """A device that the worker has opened. Lightning's own accelerators know few devices, and set them up anew."""

    def setup_device(self, device: torch.device) -> None:
        """See `accelerators.open_device`."""

    def teardown(self) -> None:
        """Nothing is freed: the process ends."""

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        """Return the argument as it is: one device."""
        return devices

    @staticmethod
    def get_parallel_devices(_: Any) -> list[torch.device]:
        """Return nothing: to Lightning every process is alone."""
        return []

    @staticmethod
    def auto_device_count() -> int:
        """Return 1: a process has one device."""
        return 1

    @staticmethod
    def is_available() -> bool:
        """Return True: the worker has opened it."""
        return True

    @staticmethod
    def name() -> str:
        """Return a name that is none of Lightning's."""
        return "opened"
