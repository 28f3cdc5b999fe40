"""Forward and backward of a step's micro-batches: one after the other, or through the stages of a pipeline."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleInterleaved1F1B

from . import data_parallel

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits and labels of a micro-batch to a fp32 scalar."""


class Schedule(Protocol):
    """`ids` and `labels` are micro-batches; returns the mean of their losses, fp32 scalar."""

    def train(self, ids: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """With gradients: the mean's, reduced over data-parallel processes in the last backward pass only."""
        ...

    def evaluate(self, ids: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """Without."""
        ...


class Straight:
    """The whole model is here."""

    def __init__(self, module: nn.Module, loss: Loss) -> None:
        self._module, self._loss = module, loss

    def train(self, ids: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """See `Schedule`."""
        total = torch.zeros((), device=ids[0].device)
        for index, (some, wanted) in enumerate(zip(ids, labels, strict=True)):
            data_parallel.start_micro_batch(self._module, is_last=index == len(ids) - 1)
            loss = self._loss(self._module(some), wanted) / len(ids)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def evaluate(self, ids: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """See `Schedule`."""
        with torch.no_grad():
            losses = [self._loss(self._module(some), wanted) for some, wanted in zip(ids, labels, strict=True)]
        return torch.stack(losses).mean()


class Pipelined:
    """1F1B; interleaved with several blocks on each stage. PyTorch's schedules, which know FSDP.

    The last block's process has the loss; its mean over the stages is then the loss, as for everything that is summed
    over all processes, so it is given times their number, and the others give 0.
    """

    def __init__(self, blocks: dict[int, nn.Module], group: ProcessGroup, micro_batches: int, loss: Loss) -> None:
        self._modules, self._size = list(blocks.values()), group.size()
        count = group.size() * len(blocks)
        device = next(self._modules[0].parameters()).device
        stages = [PipelineStage(module, block, count, device, group=group) for block, module in blocks.items()]
        self._is_first, self._is_last = stages[0].is_first, stages[-1].is_last
        self._schedule: Schedule1F1B | ScheduleInterleaved1F1B
        if len(stages) == 1:
            self._schedule = Schedule1F1B(stages[0], micro_batches, loss_fn=loss)
        else:
            self._schedule = ScheduleInterleaved1F1B(list(stages), micro_batches, loss_fn=loss)

    def train(self, ids: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """See `Schedule`."""
        losses: list[Tensor] | None = [] if self._is_last else None
        self._schedule.step(
            arg_mbs=self._inputs(ids), target_mbs=self._targets(labels), losses=losses, return_outputs=False
        )
        return self._mean(losses, ids[0].device)

    def evaluate(self, ids: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """See `Schedule`."""
        losses: list[Tensor] | None = [] if self._is_last else None
        self._schedule.eval(arg_mbs=self._inputs(ids), target_mbs=self._targets(labels), losses=losses)
        return self._mean(losses, ids[0].device)

    def _inputs(self, ids: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        return [(some,) if self._is_first else () for some in ids]

    def _targets(self, labels: Sequence[Tensor]) -> list[Tensor] | None:
        return list(labels) if self._is_last else None

    def _mean(self, losses: list[Tensor] | None, device: torch.device) -> Tensor:
        if losses is None:
            return torch.zeros((), device=device)
        return torch.stack([loss.detach() for loss in losses]).mean() * self._size
