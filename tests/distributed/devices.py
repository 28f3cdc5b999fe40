"""What ranks that share a process group compute on: the CPU, or the stand-in of a Neuron device."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from .ranks import GLOO_TIMEOUT


@dataclass(frozen=True, kw_only=True)
class Device:
    """A kind of device, as a fork of the forkserver gets it: the vendor's package is imported in the rank."""

    name: str = "cpu"
    site: Path | None = None
    """The folder with the vendor's package."""
    variables: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def group(self, rank: int, world: int, store: str) -> Iterator[Any]:
        """Join the process group of a world on this node; the value is the `torch.device`."""
        import torch
        import torch.distributed as dist

        from neuron_trainer import accelerators
        from neuron_trainer.parallel import hosts

        own = {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(world), "RANK": str(rank), "GLOO_SOCKET_IFNAME": "lo"}
        os.environ.update({**own, **self.variables})
        if self.site is not None:
            sys.path.insert(0, str(self.site))
        torch.set_num_threads(1)
        accelerator = accelerators.get(self.name)
        accelerators.load(accelerator, rank)
        meeting = f"file://{store}"
        dist.init_process_group(accelerator.collectives, meeting, rank=rank, world_size=world, timeout=GLOO_TIMEOUT)
        hosts.init(self.name, GLOO_TIMEOUT)
        yield accelerators.open_device(accelerator)
        dist.destroy_process_group()


CPU: Final = Device()


def standin(*, sends: bool = True, report: Path | None = None) -> Device:
    """The stand-in, compiled where it is not; with or without messages from one process to another.

    `report`: the folder where each process writes what it saw.
    """
    from neuron_device import build

    variables = {
        "TORCH_NEURONX_ENABLE_HOST_CC": "1",
        "TORCH_NEURONX_FALLBACK_ONLY_FOR_UNIMPLEMENTED_OPS": "1",
        "NEURON_STANDIN_SEND": "1" if sends else "0",
    }
    if report is not None:
        variables["NEURON_STANDIN_REPORT"] = str(report)
    return Device(name="neuron", site=build.folder(), variables=variables)


@contextmanager
def rounded_alike() -> Iterator[None]:
    """Compute on the CPU with the kernels and the types of a device: in bf16 a bit more or less grows, and labels in
    int32 take a loss of our own."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from neuron_trainer.accelerators import registry

    cpu = registry.get("cpu")
    registry._ALL["cpu"] = replace(cpu, widest=torch.float32, integers=torch.int32)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        registry._ALL["cpu"] = cpu


@contextmanager
def watched(device: Any, file: Path) -> Iterator[Any]:
    """Begin a phase of a run by calling the value with its name; what the device saw of each goes into a file."""
    if device.type == "cpu":
        yield lambda phase: None
        return
    from torch_neuronx import observer

    observer.watch(file)
    try:
        yield observer.begin
    finally:
        observer.write()
