"""Forward and backward of a step's micro-batches: one after the other, or through the stages of a pipeline."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleInterleaved1F1B

from .data import data_parallel

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits and labels of a micro-batch to a fp32 scalar."""


class MicroBatch(NamedTuple):
    """What goes through the model at once."""

    ids: Tensor
    """Token ids of this process's part."""
    labels: Tensor
    further: Mapping[str, Tensor]
    """Arguments of the model by name, which every stage is given."""


class MicroBatchSchedule(Protocol):
    """Returns the mean of the micro-batches' losses, fp32 scalar."""

    def train(self, batches: Sequence[MicroBatch]) -> Tensor:
        """With gradients: the mean's, reduced over data-parallel processes in the last backward pass only."""
        ...

    def evaluate(self, batches: Sequence[MicroBatch]) -> Tensor:
        """Without."""
        ...


class GradientAccumulation:
    """The whole model is here."""

    def __init__(self, module: nn.Module, loss: Loss) -> None:
        self._module, self._loss = module, loss

    def train(self, batches: Sequence[MicroBatch]) -> Tensor:
        """See `MicroBatchSchedule`."""
        losses = []
        for index, batch in enumerate(batches):
            data_parallel.start_micro_batch(self._module, is_last=index == len(batches) - 1)
            loss = self._of(batch)
            loss = loss / len(batches) if len(batches) > 1 else loss
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        return losses[0] if len(losses) == 1 else _sum(losses)

    def evaluate(self, batches: Sequence[MicroBatch]) -> Tensor:
        """See `MicroBatchSchedule`."""
        with torch.no_grad():
            losses = [self._of(batch) for batch in batches]
        return torch.stack(losses).mean()

    def _of(self, batch: MicroBatch) -> Tensor:
        return self._loss(self._module(batch.ids, **batch.further), batch.labels)


def _sum(losses: Sequence[Tensor]) -> Tensor:
    """In their order."""
    total = torch.zeros_like(losses[0])
    for loss in losses:
        total += loss
    return total


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

    def train(self, batches: Sequence[MicroBatch]) -> Tensor:
        """See `MicroBatchSchedule`."""
        losses: list[Tensor] | None = [] if self._is_last else None
        self._schedule.step(**self._inputs(batches), losses=losses, return_outputs=False)
        return self._mean(losses, batches[0].ids.device)

    def evaluate(self, batches: Sequence[MicroBatch]) -> Tensor:
        """See `MicroBatchSchedule`."""
        losses: list[Tensor] | None = [] if self._is_last else None
        self._schedule.eval(**self._inputs(batches), losses=losses)
        return self._mean(losses, batches[0].ids.device)

    def _inputs(self, batches: Sequence[MicroBatch]) -> dict[str, Any]:
        return {
            "arg_mbs": [(batch.ids,) if self._is_first else () for batch in batches],
            "kwarg_mbs": [dict(batch.further) for batch in batches],
            "target_mbs": [batch.labels for batch in batches] if self._is_last else None,
        }

    def _mean(self, losses: list[Tensor] | None, device: torch.device) -> Tensor:
        if losses is None:
            return torch.zeros((), device=device)
        return torch.stack([loss.detach() for loss in losses]).mean() * self._size
