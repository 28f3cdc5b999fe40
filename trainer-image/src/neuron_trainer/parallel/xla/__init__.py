"""The backend for PyTorch/XLA: explicit collectives in replica groups, plain modules and plain tensors.

A `BackendProvider`. It runs on hosts, too, where its numbers are tested (docs/design/026-xla-backend.md).
"""

from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed as dist

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding, error
from neuron_api.platform import kernels
from neuron_api.platform.topology import Topology
from neuron_trainer import accelerators
from neuron_trainer.parallel import expert, hosts
from neuron_trainer.parallel.backend import ParallelBackend

from . import sdk


def accepts(_: TrainingConfig, accelerator: str) -> bool:
    """Return whether the device is PyTorch/XLA's, or the host of an environment for it, whose PyTorch `native` is not
    made for."""
    lazy = accelerators.get("xla")
    is_for_it = accelerators.is_present(lazy) and not accelerators.misfit(lazy)
    return accelerator == "xla" or (accelerator == "cpu" and is_for_it)


def check(config: TrainingConfig, accelerator: str) -> Iterator[Finding]:
    """Yield what this backend cannot split, and a kernel that the file asks for and Neuron's runtime would not have."""
    yield from expert.check(config)
    if accelerator != "xla" or not sdk.is_expected():
        return
    yield from kernels.flash(config)
    if config.model.fusions.flash_attention and not sdk.is_present():
        message = f"it needs {sdk.PACKAGE}, which this image has not."
        yield error("model.fusions.flash_attention", message, "Use an image with the Neuron SDK's packages, or False.")


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
