"""The native backend: DeviceMesh, DTensor tensor and sequence parallelism, FSDP2; `cpu`/gloo or `neuron`/neuron.

A `BackendProvider`. FSDP and pipelining take 0.8 s to import and the launcher only calls `check`, so `backend` is
imported where a run is built.
"""

from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed as dist

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.platform.topology import Topology
from neuron_trainer import accelerators
from neuron_trainer.parallel import expert, hosts
from neuron_trainer.parallel.backend import ParallelBackend


def accepts(_: TrainingConfig, __: str) -> bool:
    """Return True: it is the backend of every run that no other takes."""
    return True


def check(config: TrainingConfig, _: str) -> Iterator[Finding]:
    """Yield what this backend cannot split."""
    yield from expert.check(config)


def preload() -> None:
    """Import what `create` needs."""
    from . import backend  # noqa: F401


def init_process_group(accelerator: str, timeout: timedelta) -> None:
    """Initialise torch.distributed: the accelerator's own collectives for its tensors, and gloo for those of hosts."""
    dist.init_process_group(accelerators.get(accelerator).collectives, timeout=timeout)
    hosts.init(accelerator, timeout)


def create(config: TrainingConfig, topology: Topology, device: torch.device) -> ParallelBackend:
    """Return the backend of a run; makes process groups, so all processes call it together."""
    from .backend import NativeBackend

    return NativeBackend(config, topology, device)
