"""Steps of the backend for PyTorch/XLA in this process: on the lazy device, on hosts, or as one rank of several."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
import torch.distributed as dist

from distributed import families
from distributed.splits import REFERENCES, SPLITS
from neuron_api.platform.topology import Topology
from neuron_trainer import accelerators, generators, optim, parallel
from neuron_trainer.loop.step import Gradients
from neuron_trainer.models.family import Family
from neuron_trainer.parallel.backend import Share
from neuron_trainer.parallel.xla import backend as xla

STEPS: Final = 5
EVALUATIONS: Final = 3


@dataclass
class Steps:
    """What has come out."""

    losses: list[float] = field(default_factory=list)
    compilations: list[int] = field(default_factory=list)
    """So far, after each step and evaluation."""
    fallbacks: dict[str, int] = field(default_factory=dict)
    """Operators that the lazy device has not got, and how often they were asked for."""


def run(family: str, split: str, device: torch.device) -> Steps:
    """A few steps, then evaluations."""
    typed, model = _configured(family, split)
    return steps(typed, model, lambda step, share: families.batch(family, step, share), device)


def steps(
    typed: Any, family: Family, batches: Callable[[int, Share], dict[str, torch.Tensor]], device: torch.device
) -> Steps:
    """The same of a model and batches of one's own."""
    import torch_xla.debug.metrics as counters

    counters.clear_all()
    backend, gradients, optimizer, model = _build(typed, family, device)
    result = Steps()
    for step in range(STEPS + EVALUATIONS):
        batch = {name: part.to(device) for name, part in batches(step, backend.share).items()}
        if step < STEPS:
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * (step + 1)
            loss = gradients.compute(batch).loss
            optimizer.step()
            backend.end_step(step + 1)
        else:
            model.eval()
            loss = backend.evaluate(batch).loss
        result.losses.append(loss.item())
        result.compilations.append((counters.metric_data("CompileTime") or [0])[0])
    names = [name for name in counters.counter_names() if name.startswith("aten::")]
    result.fallbacks = {name: counters.counter_value(name) for name in names}
    return result


def program(family: str, split: str) -> str:
    """The text of a step, all of it in one graph, as the process of the present group would compile it."""
    import torch_xla

    device = torch.device("xla")
    backend, gradients, optimizer, _ = _build(*_configured(family, split), device)
    torch_xla.sync()
    batch = {name: part.to(device) for name, part in families.batch(family, 0, backend.share).items()}
    sums = gradients.compute(batch)
    optimizer.step()
    results = [sums.loss, sums.gradient_norm, *(parameter.leaf for parameter in backend.parameters())]
    text: str = torch_xla._XLAC._get_xla_tensors_hlo(results)
    return text


def _configured(family: str, split: str) -> tuple[Any, Family]:
    typed = families._config(family, (REFERENCES | SPLITS)[split], Path(tempfile.mkdtemp()))
    return typed, families._family(family, typed)


def _build(typed: Any, family: Family, device: torch.device) -> tuple[xla.XlaBackend, Gradients, Any, Any]:
    generators.seed_generators(typed.seed)
    backend = xla.XlaBackend(typed, Topology.from_config(typed), device)
    model = backend.build(family)
    return backend, Gradients(backend, 0.5), optim.for_run(typed, backend.parameters()), model


@cache
def load() -> None:
    """Bring the device to PyTorch, as a worker does before it has a process group."""
    os.environ.update(RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", GLOO_SOCKET_IFNAME="lo")
    accelerators.load(accelerators.get("xla"), 0)


@contextmanager
def alone() -> Iterator[torch.device]:
    """A process group of this process alone, and the lazy device."""
    load()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        os.environ["MASTER_PORT"] = str(probe.getsockname()[1])
    parallel.provider("xla").init_process_group("xla", timedelta(seconds=60))
    yield accelerators.open_device(accelerators.get("xla"))
    dist.destroy_process_group()


@contextmanager
def played(rank: int, world: int) -> Iterator[None]:
    """This process as one of several that are not there: what it would run can be read, and not run."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    load()
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world)
    yield
    dist.destroy_process_group()
