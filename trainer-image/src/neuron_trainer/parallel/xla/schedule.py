"""Micro-batches through the stages of a pipeline, in the order of `parallel/passes.py`.

A transfer is between two stages that are both at it. On hosts it is a message; on a lazy device, which has none, the
sum over the two of what one has and of zeros (`Axis`), in a program of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from neuron_trainer.parallel import hosts
from neuron_trainer.parallel.axis import Axis
from neuron_trainer.parallel.passes import RECEIVE, SEND, Event, Pass, events
from neuron_trainer.parallel.schedule import (
    Loss,
    LossValue,
    MicroBatch,
    Targets,
    mean_of_metrics,
)

from .replicas import end_graph


class Link(Protocol):
    """How tensors go from one stage of a pipeline to another; both call it."""

    def send(self, tensor: Tensor, stage: int) -> None:
        """Give a tensor to a stage."""
        ...

    def receive(self, shape: torch.Size, dtype: torch.dtype, stage: int) -> Tensor:
        """Return the tensor of a stage."""
        ...

    def sum(self, tensor: Tensor, stage: int) -> Tensor:
        """Return the sum of this stage's and another's, the same bits on both."""
        ...


class Messages:
    """See `Link`: on hosts."""

    def __init__(self, group: ProcessGroup) -> None:
        self._group = group

    def send(self, tensor: Tensor, stage: int) -> None:
        """See `Link`."""
        dist.send(tensor, group=self._group, group_dst=stage)

    def receive(self, shape: torch.Size, dtype: torch.dtype, stage: int) -> Tensor:
        """See `Link`."""
        tensor = torch.empty(shape, dtype=dtype)
        dist.recv(tensor, group=self._group, group_src=stage)
        return tensor

    def sum(self, tensor: Tensor, stage: int) -> Tensor:
        """See `Link`; the earlier stage sends first."""
        if self._group.rank() < stage:
            self.send(tensor.contiguous(), stage)
            return tensor + self.receive(tensor.shape, tensor.dtype, stage)
        other = self.receive(tensor.shape, tensor.dtype, stage)
        self.send(tensor.contiguous(), stage)
        return other + tensor


class PairSums:
    """See `Link`: on a lazy device; each transfer is a program of its own, and they run in the order of their calls."""

    def __init__(self, pairs: Mapping[int, Axis], device: torch.device) -> None:
        """`pairs`: this process and the one at another stage, by that stage."""
        self._pairs, self._device = pairs, device

    def send(self, tensor: Tensor, stage: int) -> None:
        """See `Link`."""
        self.sum(tensor, stage)

    def receive(self, shape: torch.Size, dtype: torch.dtype, stage: int) -> Tensor:
        """See `Link`."""
        return self.sum(torch.zeros(shape, dtype=dtype, device=self._device), stage)

    def sum(self, tensor: Tensor, stage: int) -> Tensor:
        """See `Link`."""
        end_graph(self._device)
        total = self._pairs[stage].sum(tensor)
        end_graph(self._device)
        return total


class Pipeline:
    """See `MicroBatchSchedule`. The last block's process has the loss; it is given times the number of stages, and the
    others give 0, so that its mean over processes is the loss."""

    def __init__(
        self,
        blocks: Mapping[int, nn.Module],
        stages: ProcessGroup,
        link: Link,
        loss: Loss,
        take_gradients: Callable[[], None],
        after_forward: Callable[[], None] = lambda: None,
    ) -> None:
        """`stages`: of the hosts; shapes are told through it, once for each block. `after_forward` is called after each
        pass without gradients."""
        self._blocks, self._stages, self._link = blocks, stages, link
        self._loss, self._take, self.after_forward = loss, take_gradients, after_forward
        self._count = stages.size() * len(blocks)
        self._shapes: dict[int, list[tuple[torch.Size, torch.dtype]]] = {}
        """Of what a block is given, or gives to a block on another stage."""

    def train(self, batches: Sequence[MicroBatch]) -> LossValue:
        """See `MicroBatchSchedule`."""
        step = _Step(self, batches, is_training=True)
        return self._mean(step.run(self._loss), batches)

    def evaluate(self, batches: Sequence[MicroBatch]) -> LossValue:
        """See `MicroBatchSchedule`."""
        return self._mean(self.measure(batches, self._loss), batches)

    @torch.no_grad()
    def measure(self, batches: Sequence[MicroBatch], measure: Callable[[Any, Targets], Any]) -> list[Any]:
        """See `MicroBatchSchedule`."""
        return _Step(self, batches, is_training=False).run(measure)

    def is_last(self, block: int) -> bool:
        """Return whether a block has the loss."""
        return block == self._count - 1

    def forward(self, own: Pass, inputs: Sequence[Tensor], batch: MicroBatch) -> list[Tensor]:
        """Return what a block makes of its inputs."""
        output = self._blocks[own.block](*inputs, **batch.further)
        return list(output) if isinstance(output, tuple) else [output]

    def backward(self, outputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Compute the gradients of what a pass began with, and of the parameters."""
        if gradients:
            pairs = [pair for pair in zip(outputs, gradients, strict=True) if pair[0].requires_grad]
            outputs, gradients = [output for output, _ in pairs], [gradient for _, gradient in pairs]
        torch.autograd.backward(list(outputs), list(gradients) or None)
        self._take()

    def plan(self, batches: int, *, is_training: bool) -> Sequence[Event]:
        """Return the events of a step."""
        return events(self._stages.rank(), self._stages.size(), len(self._blocks), batches, is_training=is_training)

    def send(self, tensors: Sequence[Tensor], own: Pass) -> None:
        """Send what a pass has made."""
        block = own.block - 1 if own.is_backward else own.block + 1
        if not own.is_backward and block not in self._shapes:
            self._shapes[block] = [(tensor.shape, tensor.dtype) for tensor in tensors]
            to = dist.get_global_rank(self._stages, block % self._stages.size())
            dist.send_object_list([self._shapes[block]], dst=to, group=hosts.group(), device=_HOST)
        for tensor in tensors:
            self._link.send(tensor.detach().contiguous(), block % self._stages.size())

    def receive(self, own: Pass, like: Sequence[Tensor]) -> list[Tensor]:
        """Return what a pass begins with; `like`: in a backward pass the outputs, whose gradients they are."""
        stage = (own.block + 1 if own.is_backward else own.block - 1) % self._stages.size()
        shapes = [(tensor.shape, tensor.dtype) for tensor in like]
        if not own.is_backward:
            shapes = self._shapes_of(own.block, stage)
        return [self._link.receive(shape, dtype, stage) for shape, dtype in shapes]

    def _shapes_of(self, block: int, stage: int) -> list[tuple[torch.Size, torch.dtype]]:
        if block not in self._shapes:
            shapes: list[Any] = [None]
            source = dist.get_global_rank(self._stages, stage)
            dist.recv_object_list(shapes, src=source, group=hosts.group(), device=_HOST)
            self._shapes[block] = shapes[0]
        return self._shapes[block]

    def _mean(self, values: Sequence[LossValue], batches: Sequence[MicroBatch]) -> LossValue:
        if not values:
            zero = torch.zeros((), device=batches[0].ids.device)
            return LossValue(zero, dict.fromkeys(self._loss.metrics, zero))
        size = self._stages.size()
        loss = torch.stack([value.loss for value in values]).mean() * size
        return LossValue(loss, {name: value * size for name, value in mean_of_metrics(values).items()})


_HOST: Final = torch.device("cpu")


class _Step:
    """The events of one step, and what is between them."""

    def __init__(self, pipeline: Pipeline, batches: Sequence[MicroBatch], *, is_training: bool) -> None:
        self._pipeline, self._batches, self._is_training = pipeline, batches, is_training
        self._arrived: dict[Pass, list[Tensor]] = {}
        """What has come for passes that have not begun."""
        self._made: dict[Pass, list[Tensor]] = {}
        """What has not been sent."""
        self._open: dict[Pass, tuple[list[Tensor], list[Tensor]]] = {}
        """Inputs and outputs of forward passes whose backward pass has not been."""
        self._values: dict[int, Any] = {}

    def run(self, measure: Callable[[Any, Targets], Any]) -> list[Any]:
        """Return what the measure gives for each micro-batch; none where the last block is elsewhere."""
        for kind, own in self._pipeline.plan(len(self._batches), is_training=self._is_training):
            if kind == SEND:
                self._pipeline.send(self._made.pop(own), own)
            elif kind == RECEIVE:
                like = self._open[own._replace(is_backward=False)][1] if own.is_backward else ()
                self._arrived[own] = self._pipeline.receive(own, like)
            elif own.is_backward:
                self._backward(own)
            else:
                self._forward(own, measure)
        return [self._values[number] for number in sorted(self._values)]

    def _forward(self, own: Pass, measure: Callable[[Any, Targets], Any]) -> None:
        batch = self._batches[own.batch]
        inputs = [batch.ids] if own.block == 0 else self._arrived.pop(own)
        if own.block > 0 and self._is_training:
            inputs = [tensor.requires_grad_() for tensor in inputs]
        outputs = self._pipeline.forward(own, inputs, batch)
        if self._pipeline.is_last(own.block):
            value = measure(outputs[0] if len(outputs) == 1 else tuple(outputs), batch.targets)
            self._values[own.batch] = value
            if self._is_training:
                self._values[own.batch] = LossValue(value.loss.detach(), value.metrics)
                outputs = [value.loss]
        else:
            self._made[own] = outputs
        if self._is_training:
            self._open[own] = ([] if own.block == 0 else inputs), outputs
        else:
            self._pipeline.after_forward()

    def _backward(self, own: Pass) -> None:
        inputs, outputs = self._open.pop(own._replace(is_backward=False))
        self._pipeline.backward(outputs, self._arrived.pop(own, ()))
        if inputs:
            self._made[own] = [torch.zeros_like(states) if states.grad is None else states.grad for states in inputs]
