"""States of the random generators of a process: python, numpy, torch."""

import random
from typing import Any

import numpy as np
import torch


def seed(value: int) -> None:
    """B-19: the same on every rank; data-parallel replicas start equal."""
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


def state() -> dict[str, Any]:
    """Everything needed to draw the same numbers again, as plain types (loadable without unpickling code)."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }


def restore(saved: dict[str, Any]) -> None:
    """Continue where `state` was taken."""
    version, internal, gauss = saved["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = saved["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(saved["torch"])
