"""The backends there are. A new one is a package that is a `BackendProvider`, and a line here."""

from importlib import import_module
from typing import Final, cast

import torch

from neuron_api.config import TrainingConfig
from neuron_api.platform.topology import Topology

from .backend import BackendProvider, ParallelBackend

PACKAGES: Final[dict[str, str]] = {
    "xla": "neuron_trainer.parallel.xla",
    "native": "neuron_trainer.parallel.native",
}
"""Names and packages. The first that accepts a run takes it, so the most special one stands first."""


def backends() -> tuple[str, ...]:
    """Return the names of all backends."""
    return tuple(PACKAGES)


def provider(name: str) -> BackendProvider:
    """Return one backend's package, without what only its steps need."""
    return cast(BackendProvider, import_module(PACKAGES[name]))


def select(config: TrainingConfig, accelerator: str) -> BackendProvider:
    """Return the backend that takes this run: the first that accepts it."""
    return next(package for name in PACKAGES if (package := provider(name)).accepts(config, accelerator))


def create(config: TrainingConfig, topology: Topology, device: torch.device) -> ParallelBackend:
    """Return a new backend for a run; needs the process group that the same backend has initialised."""
    return select(config, device.type).create(config, topology, device)
