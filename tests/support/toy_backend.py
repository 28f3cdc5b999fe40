"""A second backend, as small as one can be: a process of its own, fp32, nothing of `native`.

The module is a `BackendProvider`: what a package of `neuron_trainer.parallel` has to have. It takes no run by itself.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding, error
from neuron_api.platform.topology import Topology
from neuron_trainer.models.family import Family
from neuron_trainer.parallel.backend import Batch, LocalParameter, Outcome, ParallelBackend, Share
from neuron_trainer.parallel.hosts import Ballot

NAME = "a toy"
"""Runs of this name are the toy's."""
REFUSED = "it has one process."


def accepts(config: TrainingConfig, _: str) -> bool:
    return config.name == NAME


def check(config: TrainingConfig, _: str) -> Iterator[Finding]:
    if config.distributed_strategy.tensor_model_parallel_size > 1:
        yield error("distributed_strategy.tensor_model_parallel_size", REFUSED)


def preload() -> None:
    """Nothing."""


def init_process_group(_: str, timeout: timedelta) -> None:
    dist.init_process_group("gloo", timeout=timeout)


def create(config: TrainingConfig, _: Topology, device: torch.device) -> ParallelBackend:
    return ToyBackend(config, device)


class WholeParameter(LocalParameter):
    def for_checkpoint(self, local: Tensor, dims: tuple[int, ...] | None = None) -> Tensor:
        return local


class ToyBackend:
    def __init__(self, config: TrainingConfig, device: torch.device) -> None:
        self.device, self.share = device, Share(0, 1)
        self.steps_ended = 0
        self._rows = config.data.micro_batch_size

    def build(self, family: Family) -> nn.Module:
        self._module: nn.Module = family.on_meta()
        for name, meta in list(self._module.named_parameters()):
            owner, _, attribute = name.rpartition(".")
            setattr(self._module.get_submodule(owner), attribute, nn.Parameter(family.init_parameter(name, meta.shape)))
        family.tie(self._module)
        return self._module

    def parameters(self) -> Sequence[LocalParameter]:
        return [WholeParameter(name, leaf.shape, leaf, 1) for name, leaf in self._module.named_parameters()]

    def frozen_parameters(self) -> Sequence[LocalParameter]:
        return []

    def without_adapters(self) -> AbstractContextManager[None]:
        return nullcontext()

    def weights_loaded(self, updates: int) -> None:
        """It computes with the weights themselves."""

    def accumulate(self, batch: Batch) -> Outcome:
        losses = self._losses(batch)
        losses.mean().backward()
        return Outcome(losses.detach().mean(), {})

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> Outcome:
        return Outcome(self._losses(batch).mean(), {})

    @torch.no_grad()
    def log_probs(self, batch: Batch) -> Tensor:
        labels = batch["labels"]
        each = F.cross_entropy(
            self._module(batch["input_ids"].flatten(0, 1)).transpose(1, 2), labels.flatten(0, 1), reduction="none"
        )
        return -each.sum(dim=1).view(labels.shape[:2])

    def _losses(self, batch: Batch) -> Tensor:
        pairs = zip(batch["input_ids"].split(self._rows), batch["labels"].split(self._rows), strict=True)
        return torch.stack(
            [F.cross_entropy(self._module(ids).flatten(0, 1), labels.flatten()) for ids, labels in pairs]
        )

    def keep_reference(self) -> None:
        """It trains on no pairs."""

    def finish_gradients(self) -> None:
        """They are whole."""

    def end_step(self, updates: int) -> None:
        self.steps_ended = updates
        self._module.zero_grad(set_to_none=True)

    def begin_vote(self, *wishes: bool, measured: Sequence[int] = ()) -> Callable[[], Ballot]:
        return lambda: Ballot(wishes, torch.tensor([measured], dtype=torch.int64))

    def sum_over_processes(self, values: Tensor) -> Tensor:
        return values
