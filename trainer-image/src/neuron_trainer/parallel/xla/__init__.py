"""The backend for PyTorch/XLA: explicit collectives in replica groups, plain modules and plain tensors.

A `BackendProvider`. It runs on hosts, too, where its numbers are tested (docs/design/026-xla-backend.md).
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import torch
import torch.distributed as dist

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.platform.topology import Topology
from neuron_trainer import accelerators
from neuron_trainer.parallel import expert, hosts
from neuron_trainer.parallel.backend import ParallelBackend

_PIPELINE: Final = "distributed_strategy.pipeline_model_parallel_size"


def accepts(_: TrainingConfig, accelerator: str) -> bool:
    """Return whether the device is PyTorch/XLA's."""
    return accelerator == "xla"


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Yield what this backend cannot split on a lazy device."""
    yield from expert.check(config)
    stages = config.distributed_strategy.pipeline_model_parallel_size
    if stages > 1:
        message = f"{stages} stages: on PyTorch/XLA this release has no pipelines."
        yield make_finding(4001, _PIPELINE, message, "Use tensor_model_parallel_size, or an instance type of Trn2.")


def preload() -> None:
    """Import what `create` needs; torch_xla claims a core when it is imported, so it is not among it."""
    from . import backend  # noqa: F401


def init_process_group(accelerator: str, timeout: timedelta) -> None:
    """Initialise torch.distributed: the accelerator's own collectives for its tensors, and gloo for those of hosts."""
    if accelerator == "xla":
        import torch_xla.distributed.xla_backend  # noqa: F401  # its collectives
    dist.init_process_group(accelerators.get(accelerator).collectives, timeout=timeout)
    hosts.init(accelerator, timeout)


def create(config: TrainingConfig, topology: Topology, device: torch.device) -> ParallelBackend:
    """Return the backend of a run; makes process groups, so all processes call it together."""
    from .backend import XlaBackend

    return XlaBackend(config, topology, device)
