"""The seam between the training loop and what runs it on several processes.

The loop calls only what is here; `native` is PyTorch's DeviceMesh, DTensor and FSDP2. Shapes, dtypes and collectives
of every operation are in docs/design/003-parallel-backend.md.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from neuron_trainer.models.family import Family


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of the data a process takes."""

    rank: int
    """Data-parallel rank: processes of one model replica have the same one."""
    size: int


@dataclass(slots=True)
class LocalParameter:
    """What this process owns of one parameter: the optimizer works on plain tensors and knows nothing of splits."""

    name: str
    whole: Tensor
    """The parameter as it is registered (a DTensor where it is split)."""
    leaf: nn.Parameter
    """A plain view of the local shard's storage, in the master dtype; `leaf.grad` is set by `finish_gradients`."""
    replicas: int
    """Processes that hold this very shard: a sum over all processes counts it so many times."""

    def wrap(self, local: Tensor) -> Tensor:
        """A tensor of the shard's shape (optimizer state) as a tensor that knows its place in the whole."""
        raise NotImplementedError


class ParallelBackend(Protocol):
    """One optimizer step from the point of view of the loop."""

    device: torch.device
    share: Share

    def build(self, family: Family) -> nn.Module:
        """Make the model with its initial weights, split, on the device. Calls: token ids int64 [b, S] to logits."""
        ...

    def parameters(self) -> Sequence[LocalParameter]:
        """What the optimizer updates, in the model's order, a shared parameter once."""
        ...

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean next-token cross-entropy of a micro-batch, fp32 scalar, equal on all processes of a replica."""
        ...

    def loss_scope(self) -> AbstractContextManager[Any]:
        """To be entered around loss and backward."""
        ...

    def start_micro_batch(self, is_last: bool) -> None:
        """Before each forward pass; gradients are reduced over data-parallel ranks in the last one only."""
        ...

    def finish_gradients(self) -> None:
        """After the last backward pass: `leaf.grad` is the mean over data-parallel ranks, in the master dtype."""
        ...

    def drop_gradients(self) -> None:
        """Free the gradients after the optimizer step."""
        ...

    def sum_over_processes(self, values: Tensor) -> Tensor:
        """All-reduce of a small vector over every process; the same bits everywhere."""
        ...
