"""`torch.compile` of whole blocks: each layer is one graph, and so are embedding, norm, head and loss.

What a module may do so that it stays one graph: docs/design/022-devices.md.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar, cast

import torch
from torch import Tensor, nn

from neuron_trainer import accelerators
from neuron_trainer.models.blocks.seeds import Seeded, SeedQueue
from neuron_trainer.parallel.loss.next_token import AveragedLoss
from neuron_trainer.parallel.schedule import LossValue, Targets

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])
MAX_GRAPHS: Final = 64
"""Of one piece of code. PyTorch's 8 are few: embedding and head share one, in training, evaluation and a reference."""


class CompiledForward:
    """The `forward` of a module as a graph, which takes the seeds of dropout and token shuffle as an input.

    Hooks of the module itself run outside (FSDP2's are refused in a graph), those of its children inside.
    """

    def __init__(self, module: nn.Module, backend: str, device: torch.device) -> None:
        self._forward = graph(module.forward, backend)
        seeded = (child for child in module.modules() if isinstance(child, Seeded))
        self._queue = SeedQueue(seeded, None if device.type == "cpu" else partial(_copied, device))
        for child in self._queue.modules:
            child.queue = self._queue

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Call it."""
        self._queue.fill()
        return self._forward(*args, **named)


class CompiledLoss:
    """A loss as a graph, see `AveragedLoss`."""

    def __init__(self, loss: AveragedLoss, backend: str) -> None:
        self._loss, self._graph = loss, graph(loss.__call__, backend)
        self.metrics = loss.metrics

    @property
    def divisor(self) -> Tensor | None:
        """See `AveragedLoss`."""
        return self._loss.divisor

    @divisor.setter
    def divisor(self, value: Tensor | None) -> None:
        self._loss.divisor = value

    def count(self, labels: Tensor) -> Tensor:
        """See `AveragedLoss`."""
        return self._loss.count(labels)

    def __call__(self, output: Any, targets: Targets) -> LossValue:
        """See `Loss`."""
        return self._graph(output, targets)


def apply(module: nn.Module, layers: Sequence[str], backend: str, device: torch.device) -> None:
    """Compile the `layers` of a block, and the modules beside them that have parameters; call before recompute is
    applied, which goes around them."""
    _configure()
    names = [*layers, *_beside(module, layers)]
    for name in names:
        child = module.get_submodule(name)
        child.forward = CompiledForward(child, backend, device)
    log.info("compiled with %s: %d layers, and %s", backend, len(layers), ", ".join(names[len(layers) :]) or "no more")


def graph(function: F, backend: str) -> F:
    """Return a function as one graph for each form of its arguments; raises where it would be in pieces."""
    return cast(F, torch.compile(function, backend=backend, dynamic=False, fullgraph=True))


def _copied(device: torch.device, tensor: Tensor) -> Tensor:
    return accelerators.pinned(tensor, device).to(device, non_blocking=True)


def _beside(module: nn.Module, layers: Sequence[str]) -> list[str]:
    """Names of the outermost modules with parameters of their own outside of the layers."""
    names: list[str] = []
    for name, child in module.named_modules():
        is_inside = name.startswith(tuple(f"{layer}." for layer in (*layers, *names)))
        if name not in layers and not is_inside and next(child.parameters(recurse=False), None) is not None:
            names.append(name)
    return names


def _configure() -> None:
    """Set what PyTorch has for the whole process only."""
    import torch._dynamo

    # DistributedDataParallel would cut graphs at its buckets; layers are graphs already, so gradients leave early.
    torch._dynamo.config.optimize_ddp = False
    torch._dynamo.config.recompile_limit = MAX_GRAPHS
    # A module that is recomputed takes seeds from the queue; the backward pass uses those that it has.
    torch._dynamo.config.skip_fwd_side_effects_in_bwd_under_checkpoint = True
    # Torch 2.14's partitioner calls what torch 2.14 says is deprecated, in each process.
    logging.getLogger("torch._library.opaque_object").setLevel(logging.ERROR)
