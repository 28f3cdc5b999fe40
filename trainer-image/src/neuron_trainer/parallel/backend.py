"""The seam between the training loop and what runs it on several processes.

Loop, preflight and checkpoints call only what is here. Shapes, dtypes and collectives of every operation are in
docs/design/003-parallel-backend.md.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.platform.topology import Topology
from neuron_trainer.models.family import Family
from neuron_trainer.rounding import Place

from .hosts import Ballot
from .parts import Cut


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
    shape: torch.Size
    """Of the whole parameter."""
    leaf: nn.Parameter
    """A plain view of the local shard's storage, in the dtype that is updated: the masters', or without masters that of
    computing. `leaf.grad` is set by `finish_gradients`."""
    replicas: int
    """Processes that hold this very shard: a sum over all processes counts it so many times."""
    cuts: tuple[Cut, ...] = ()
    """How the whole is divided; a shard has the whole's dimensions. Empty where every process has all of it."""
    offset: tuple[int, ...] = ()
    """Of the shard's first element in the whole."""

    @property
    def place(self) -> Place:
        """Return the place of the shard in the whole."""
        return Place(tuple(self.shape), self.offset)

    def cuts_of(self, dim: int) -> tuple[Cut, ...]:
        """The cuts along one dimension, which may be counted from the last (-1)."""
        return tuple(cut for cut in self.cuts if cut.dim == dim % len(self.shape))

    def gathered(self) -> Tensor:
        """Return the whole parameter on each process that has a part of it; a collective of these."""
        raise NotImplementedError

    def for_checkpoint(self, local: Tensor, dims: tuple[int, ...] | None = None) -> Tensor:
        """Return `local`, without a copy, as torch.distributed.checkpoint saves and loads it: knowing its place in the
        whole.

        `local` is the leaf, a copy of it in any dtype and on any device, or a tensor of optimizer state. It has the
        shard's dimensions `dims`, all by default; over the others it is a statistic of the whole, the same on every
        process.
        """
        raise NotImplementedError


Batch = Mapping[str, Tensor]
"""`input_ids` and `labels` (the target of the output at t in place t), int64, on some devices int32, [GBS/DP, S]: whole
rows, the same on all processes of a replica. With `position_ids` and `document_ids` where the data has them (see
`Samples`).

Pairs are [GBS/DP, 2, S], the chosen answer first; with `reference_log_probs`, [GBS/DP, 2] as `log_probs` gives them,
where they are known.
"""


class Outcome(NamedTuple):
    """What a process has of the loss of a global batch. The mean over all processes of each number is the number."""

    loss: Tensor
    """fp32 scalar: its mean is the mean over micro-batches and replicas (B-4), with the model's auxiliary loss if it
    gives one."""
    metrics: Mapping[str, Tensor]
    """fp32 scalars of the objective by name (`neuron_api.metrics`); empty for cross-entropy. The same names on every
    process."""


class BackendProvider(Protocol):
    """What a backend's package has: functions that are called before there is a backend."""

    def accepts(self, config: TrainingConfig, accelerator: str) -> bool:
        """Return whether runs of this configuration on this kind of device are this backend's."""
        ...

    def check(self, config: TrainingConfig, accelerator: str) -> Iterable[Finding]:
        """Return what this backend refuses, before any process starts. Imports nothing that takes long."""
        ...

    def preload(self) -> None:
        """Import what `create` needs, in the forkserver: starts no thread and touches no device."""
        ...

    def init_process_group(self, accelerator: str, timeout: timedelta) -> None:
        """Initialise torch.distributed for all processes of the run, by RANK, MASTER_ADDR and so on.

        Collectives of objects and of host tensors must work on `hosts.group()`: the loop and checkpoints use them.
        """
        ...

    def create(self, config: TrainingConfig, topology: Topology, device: torch.device) -> "ParallelBackend":
        """Return the backend of a run; a collective."""
        ...


class ParallelBackend(Protocol):
    """One optimizer step from the point of view of the loop."""

    device: torch.device
    share: Share

    def build(self, family: Family) -> nn.Module:
        """Make this process's part of the model with its initial weights, on the device."""
        ...

    def parameters(self) -> Sequence[LocalParameter]:
        """Return what the optimizer updates, in the model's order, a shared parameter once; with LoRA the adapters
        alone."""
        ...

    def frozen_parameters(self) -> Sequence[LocalParameter]:
        """Return what only computes, in the model's order: the base of adapters, in the dtype of computing, without
        gradient, state or master."""
        ...

    def without_adapters(self) -> AbstractContextManager[None]:
        """Return a context in which `evaluate` is the base model's, with the biases that are trained beside it."""
        ...

    def weights_loaded(self, updates: int) -> None:
        """Called after a checkpoint was loaded: the weights have been updated so many times.

        What steps and evaluations compute with follows from them and this number (B-3: "write-back").
        """
        ...

    def accumulate(self, batch: Batch) -> Outcome:
        """Forward and backward of a replica's samples of a global batch, in micro-batches; gradients are reduced
        once."""
        ...

    def evaluate(self, batch: Batch) -> Outcome:
        """The same without gradients."""
        ...

    def log_probs(self, batch: Batch) -> Tensor:
        """Return the log-probability of each answer of a batch of pairs, [GBS/DP, 2] in fp64, or in fp32 where the
        device has no fp64; the same on all processes of a replica. Without gradients; a collective."""
        ...

    def keep_reference(self) -> None:
        """Keep what the model computes with now, frozen, as the reference of later batches of pairs that come without
        `reference_log_probs`. A collective."""
        ...

    def finish_gradients(self) -> None:
        """Finish the gradients after `accumulate`: `leaf.grad` is then the mean over data-parallel ranks, in the
        dtype of the leaf."""
        ...

    def end_step(self, updates: int) -> None:
        """The boundary of steps, called after each optimizer step: free the gradients; the weights have been updated so
        many times. A device that executes lazily is given the step here."""
        ...

    def begin_vote(self, *wishes: bool, measured: Sequence[int] = ()) -> Callable[[], Ballot]:
        """Begin to ask, on the hosts, which of these wishes some process has; the answer, the same everywhere, is
        awaited when it is called for. The device is not asked, so nothing waits for it. What each process has
        `measured`, as many numbers from each, goes the same way to all."""
        ...

    def sum_over_processes(self, values: Tensor) -> Tensor:
        """All-reduce of a small vector over every process, on the device or on the hosts, wherever it is; the same bits
        everywhere."""
        ...
