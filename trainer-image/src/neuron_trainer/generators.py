"""States of the random generators of a process: python, numpy, torch, and that of its device."""

import random
from typing import Any, Final

import numpy as np
import torch

from neuron_trainer import accelerators

_DEVICE: Final = "device"
"""Key of the device's kind and state; checkpoints of runs on CPUs, and of older releases, have none."""


def seed_generators(value: int, device: torch.device | None = None) -> None:
    """B-19: the same on every rank; data-parallel replicas start equal. PyTorch seeds the generators of devices that it
    knows, too; those of others' modules are seeded here."""
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)
    if device is not None and accelerators.get(device.type).module:
        torch.get_device_module(device).manual_seed(value)


def generator_state(device: torch.device) -> dict[str, Any]:
    """Everything needed to draw the same numbers again, as plain types (loadable without unpickling code)."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    generators = {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    if not accelerators.get(device.type).is_host:
        own = torch.get_device_module(device).get_rng_state()
        generators[_DEVICE] = (device.type, own.cpu())
    return generators


def restore_generators(saved: dict[str, Any], device: torch.device) -> str:
    """Continue where `state` was taken; return in a sentence what cannot be continued, empty where all is."""
    version, internal, gauss = saved["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = saved["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(saved["torch"])
    name, own = saved.get(_DEVICE, ("cpu", None))
    if name != device.type:
        return (
            f"the checkpoint was written on {name}, this run computes on {device.type}: sums are rounded in another "
            "order there, and random numbers that the device draws, as of dropout, are others."
        )
    if own is not None:
        torch.get_device_module(device).set_rng_state(own)
    return ""
