"""Forward and backward of a step's micro-batches: one after the other, or through the stages of a pipeline."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.pipelining import Schedule1F1B, ScheduleInterleaved1F1B

from neuron_trainer.parallel.schedule import (
    Loss,
    LossValue,
    Measure,
    MicroBatch,
    mean_of_metrics,
)

from .pipeline.stage import HostedStage


class Pipelined:
    """1F1B; interleaved with several blocks on each stage. PyTorch's schedules, which know FSDP.

    The last block's process has the loss; its mean over the stages is then the loss, as for everything that is summed
    over all processes, so it is given times their number, and the others give 0.
    """

    def __init__(self, blocks: dict[int, nn.Module], group: ProcessGroup, micro_batches: int, loss: Loss) -> None:
        """`group`: of the stages; tensors can be sent in it."""
        self._modules, self._size = list(blocks.values()), group.size()
        self._loss = loss
        self._measure: Measure | None = None
        self._batches: Sequence[MicroBatch] = ()
        self._metrics: dict[int, Mapping[str, Tensor]] = {}
        count = group.size() * len(blocks)
        device = next(self._modules[0].parameters()).device
        stages = [HostedStage(module, block, count, device, group=group) for block, module in blocks.items()]
        self._is_first, self._is_last = stages[0].is_first, stages[-1].is_last
        self._schedule: Schedule1F1B | ScheduleInterleaved1F1B
        if len(stages) == 1:
            self._schedule = Schedule1F1B(stages[0], micro_batches, loss_fn=self._value, scale_grads=False)
        else:
            self._schedule = ScheduleInterleaved1F1B(
                list(stages), micro_batches, loss_fn=self._value, scale_grads=False
            )

    def train(self, batches: Sequence[MicroBatch]) -> LossValue:
        """See `MicroBatchSchedule`."""
        losses: list[Tensor] | None = [] if self._is_last else None
        self._schedule.step(**self._inputs(batches), losses=losses, return_outputs=False)
        return self._mean(losses, batches[0].ids.device)

    def evaluate(self, batches: Sequence[MicroBatch]) -> LossValue:
        """See `MicroBatchSchedule`."""
        return self._mean(self._evaluated(batches), batches[0].ids.device)

    def measure(self, batches: Sequence[MicroBatch], measure: Measure) -> list[Tensor]:
        """See `MicroBatchSchedule`."""
        self._measure = measure
        try:
            return self._evaluated(batches) or []
        finally:
            self._measure = None

    @torch.no_grad()
    def _evaluated(self, batches: Sequence[MicroBatch]) -> list[Tensor] | None:
        """Return the value of each micro-batch; None where the last stage is elsewhere. PyTorch's `eval` records
        gradients unless it is told not to."""
        values: list[Tensor] | None = [] if self._is_last else None
        self._schedule.eval(**self._inputs(batches), losses=values, return_outputs=False)
        return values

    def _value(self, output: Any, number: Tensor) -> Tensor:
        """PyTorch's schedules hand on one tensor as target: the micro-batch's number, on the host. In the first step
        they call this once more, to learn shapes; the metrics of that are overwritten."""
        targets = self._batches[index := int(number)].targets
        if self._measure is not None:
            return self._measure(output, targets)
        loss, self._metrics[index] = self._loss(output, targets)
        return loss

    def _inputs(self, batches: Sequence[MicroBatch]) -> dict[str, Any]:
        self._batches = batches
        return {
            "arg_mbs": [(batch.ids,) if self._is_first else () for batch in batches],
            "kwarg_mbs": [dict(batch.further) for batch in batches],
            "target_mbs": [torch.tensor(number) for number in range(len(batches))] if self._is_last else None,
        }

    def _mean(self, losses: list[Tensor] | None, device: torch.device) -> LossValue:
        if losses is None:
            return LossValue(zero := torch.zeros((), device=device), dict.fromkeys(self._loss.metrics, zero))
        values = [LossValue(loss.detach(), self._metrics[number]) for number, loss in enumerate(losses)]
        mean = torch.stack([value.loss for value in values]).mean() * self._size
        return LossValue(mean, {name: value * self._size for name, value in mean_of_metrics(values).items()})
