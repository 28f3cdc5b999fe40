"""Micro-batches: one after the other, or through the stages of a pipeline by 1F1B, interleaved with several blocks on
each (B-7; arXiv:2104.04473, 2.2).

A stage works off a list of passes that follows from its place alone. Each transfer has a number of its own, so it finds
its partner in whatever order the passes of two stages are; a sender never waits.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import ProcessGroup, Work

from neuron_trainer.parallel import hosts
from neuron_trainer.parallel.schedule import (
    Loss,
    LossValue,
    Measure,
    MicroBatch,
    Targets,
    mean_of_metrics,
    sum_of_losses,
)


class Pass(NamedTuple):
    """One block's work on one micro-batch."""

    is_backward: bool
    block: int
    batch: int


def passes(stage: int, stages: int, chunks: int, batches: int) -> list[Pass]:
    """Return what a stage does in a step, in order; `chunks`: blocks on each stage, of which c is block c x PP + p.

    With several blocks micro-batches go through in groups of as many as there are stages.
    """
    forwards = [_nth(n, stage, stages, chunks, batches) for n in range(chunks * batches)]
    backwards = [
        Pass(is_backward=True, block=_mirrored(own.block, stage, stages, chunks), batch=own.batch) for own in forwards
    ]
    early = stages - stage - 1 if chunks == 1 else 2 * (stages - stage - 1) + (chunks - 1) * stages
    early = min(early, len(forwards))
    steady = [own for pair in zip(forwards[early:], backwards, strict=False) for own in pair]
    return [*forwards[:early], *steady, *backwards[len(forwards) - early :]]


def _nth(number: int, stage: int, stages: int, chunks: int, batches: int) -> Pass:
    """The forward pass with a number; the last group has what is left over."""
    group, place = divmod(number, stages * chunks)
    first = group * stages
    size = min(stages, batches - first)
    chunk, batch = divmod(place, size)
    return Pass(is_backward=False, block=chunk * stages + stage, batch=first + batch)


def _mirrored(block: int, stage: int, stages: int, chunks: int) -> int:
    """Backward passes go through the blocks of a stage from the last one."""
    return (chunks - 1 - block // stages) * stages + stage


class Links:
    """Transfers between the stages of one pipeline; shapes are told through the hosts, once for each block."""

    def __init__(self, group: ProcessGroup, device: torch.device) -> None:
        self._group, self._device = group, device
        self._metas: dict[tuple[bool, int], list[tuple[torch.Size, torch.dtype]]] = {}
        self._pending: list[tuple[Work, Tensor]] = []

    @property
    def stages(self) -> int:
        """Return how many there are."""
        return self._group.size()

    @property
    def stage(self) -> int:
        """Return this process's."""
        return self._group.rank()

    def send(self, tensors: Sequence[Tensor], own: Pass, blocks: int) -> None:
        """Send what a pass has made to the block after it, or before it."""
        target = own.block - 1 if own.is_backward else own.block + 1
        stage = target % self.stages
        if not own.is_backward and (own.is_backward, target) not in self._metas:
            metas = [(tensor.shape, tensor.dtype) for tensor in tensors]
            self._metas[own.is_backward, target] = metas
            rank = dist.get_global_rank(self._group, stage)
            dist.send_object_list([metas], dst=rank, group=hosts.group(), device=torch.device("cpu"))
        for number, tensor in enumerate(tensors):
            value = tensor.detach().contiguous()
            tag = _tag(own, target, blocks, number)
            work = dist.isend(value, group=self._group, group_dst=stage, tag=tag)
            assert work is not None
            self._pending.append((work, value))

    def receive(self, own: Pass, blocks: int, like: Sequence[Tensor] = ()) -> list[Tensor]:
        """Return what a pass begins with; `like`: in a backward pass, its outputs."""
        source = own.block + 1 if own.is_backward else own.block - 1
        stage = source % self.stages
        metas = [(tensor.shape, tensor.dtype) for tensor in like] if own.is_backward else self._meta(own.block, stage)
        tensors = [torch.empty(shape, dtype=dtype, device=self._device) for shape, dtype in metas]
        for number, tensor in enumerate(tensors):
            tag = _tag(own, own.block, blocks, number)
            work = dist.irecv(tensor, group=self._group, group_src=stage, tag=tag)
            assert work is not None
            work.wait()
        return tensors

    def _meta(self, block: int, stage: int) -> list[tuple[torch.Size, torch.dtype]]:
        if (False, block) not in self._metas:
            metas: list[Any] = [None]
            rank = dist.get_global_rank(self._group, stage)
            dist.recv_object_list(metas, src=rank, group=hosts.group(), device=torch.device("cpu"))
            self._metas[False, block] = metas[0]
        return self._metas[False, block]

    def finish(self) -> None:
        """Wait until everything that was sent has arrived."""
        for work, _ in self._pending:
            work.wait()
        self._pending.clear()

    def swap(self, own: Tensor, stage: int) -> Tensor:
        """Return the tensor that another stage gives for this one."""
        other = torch.empty_like(own)
        sent = dist.isend(own.contiguous(), group=self._group, group_dst=stage)
        came = dist.irecv(other, group=self._group, group_src=stage)
        for work in (sent, came):
            assert work is not None
            work.wait()
        return other


def _tag(own: Pass, target: int, blocks: int, number: int) -> int:
    """Return the number of a tensor: the pass that takes it, and its place among those that come together."""
    kind = ((own.batch * 2 + own.is_backward) * blocks + target) * _TENSORS
    return kind + number


_TENSORS: Final = 2
"""At most, from one block to the next: states, and what the load-balancing loss needs of earlier layers."""


class Accumulation:
    """See `MicroBatchSchedule`; gradients are taken after each micro-batch, which a lazy device is given as a graph."""

    def __init__(self, module: nn.Module, loss: Loss, take_gradients: Callable[[], None]) -> None:
        self._module, self._loss, self._take = module, loss, take_gradients

    def train(self, batches: Sequence[MicroBatch]) -> LossValue:
        """See `MicroBatchSchedule`."""
        values = []
        for batch in batches:
            loss, metrics = self._value(batch)
            loss = loss / len(batches) if len(batches) > 1 else loss
            loss.backward()  # type: ignore[no-untyped-call]
            values.append(LossValue(loss.detach(), metrics))
            self._take()
        if len(values) == 1:
            return values[0]
        return LossValue(sum_of_losses([value.loss for value in values]), mean_of_metrics(values))

    def evaluate(self, batches: Sequence[MicroBatch]) -> LossValue:
        """See `MicroBatchSchedule`."""
        with torch.no_grad():
            values = [self._value(batch) for batch in batches]
        return LossValue(torch.stack([value.loss for value in values]).mean(), mean_of_metrics(values))

    def measure(self, batches: Sequence[MicroBatch], measure: Measure) -> list[Tensor]:
        """See `MicroBatchSchedule`."""
        with torch.no_grad():
            return [measure(self._module(batch.ids, **batch.further), batch.targets) for batch in batches]

    def _value(self, batch: MicroBatch) -> LossValue:
        return self._loss(self._module(batch.ids, **batch.further), batch.targets)


class Pipeline:
    """See `MicroBatchSchedule`. The last block's process has the loss; it is given times the number of stages, and the
    others give 0, so that its mean over processes is the loss."""

    def __init__(
        self, blocks: Mapping[int, nn.Module], links: Links, loss: Loss, take_gradients: Callable[[], None]
    ) -> None:
        self._blocks, self._links = blocks, links
        self._loss, self._take = loss, take_gradients
        self._count = links.stages * len(blocks)

    @property
    def _is_last(self) -> bool:
        return self._count - 1 in self._blocks

    def train(self, batches: Sequence[MicroBatch]) -> LossValue:
        """See `MicroBatchSchedule`."""
        open_passes: dict[tuple[int, int], tuple[list[Tensor], list[Tensor]]] = {}
        values: dict[int, LossValue] = {}
        for own in passes(self._links.stage, self._links.stages, len(self._blocks), len(batches)):
            if own.is_backward:
                self._backward(own, *open_passes.pop((own.block, own.batch)))
                continue
            inputs, outputs = self._forward(own, batches[own.batch], is_training=True)
            if self._is_end(own):
                value = self._loss(_output(outputs), batches[own.batch].targets)
                values[own.batch] = LossValue(value.loss.detach(), value.metrics)
                outputs = [value.loss / len(batches)]
            open_passes[own.block, own.batch] = inputs, outputs
        self._links.finish()
        return self._mean([values[number] for number in sorted(values)], batches)

    def evaluate(self, batches: Sequence[MicroBatch]) -> LossValue:
        """See `MicroBatchSchedule`."""
        return self._mean(self._measured(batches, self._loss), batches)

    def measure(self, batches: Sequence[MicroBatch], measure: Measure) -> list[Tensor]:
        """See `MicroBatchSchedule`."""
        return self._measured(batches, measure)

    @torch.no_grad()
    def _measured(self, batches: Sequence[MicroBatch], function: Callable[[Any, Targets], Any]) -> list[Any]:
        """Return the value of each micro-batch; none where the last stage is elsewhere."""
        values = {}
        for own in passes(self._links.stage, self._links.stages, len(self._blocks), len(batches)):
            if not own.is_backward:
                _, outputs = self._forward(own, batches[own.batch], is_training=False)
                if self._is_end(own):
                    values[own.batch] = function(_output(outputs), batches[own.batch].targets)
        self._links.finish()
        return [values[number] for number in sorted(values)]

    def _is_end(self, own: Pass) -> bool:
        return own.block == self._count - 1

    def _forward(self, own: Pass, batch: MicroBatch, *, is_training: bool) -> tuple[list[Tensor], list[Tensor]]:
        inputs = [batch.ids] if own.block == 0 else self._links.receive(own, self._count)
        if own.block > 0 and is_training:
            inputs = [tensor.requires_grad_() for tensor in inputs]
        output = self._blocks[own.block](*inputs, **batch.further)
        outputs = list(output) if isinstance(output, tuple) else [output]
        if not self._is_end(own):
            self._links.send(outputs, own, self._count)
        return ([] if own.block == 0 else inputs), outputs

    def _backward(self, own: Pass, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        gradients: list[Tensor] = []
        if not self._is_end(own):
            gradients = self._links.receive(own, self._count, like=outputs)
            pairs = [pair for pair in zip(outputs, gradients, strict=True) if pair[0].requires_grad]
            outputs, gradients = [output for output, _ in pairs], [gradient for _, gradient in pairs]
        torch.autograd.backward(outputs, gradients or None)
        self._take()
        if inputs:
            zeros = [torch.zeros_like(states) if states.grad is None else states.grad for states in inputs]
            self._links.send(zeros, own, self._count)

    def _mean(self, values: Sequence[LossValue], batches: Sequence[MicroBatch]) -> LossValue:
        if not self._is_last:
            zero = torch.zeros((), device=batches[0].ids.device)
            return LossValue(zero, dict.fromkeys(self._loss.metrics, zero))
        loss = torch.stack([value.loss for value in values]).mean() * self._links.stages
        metrics = mean_of_metrics(values)
        return LossValue(loss, {name: value * self._links.stages for name, value in metrics.items()})


def _output(outputs: Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
    return outputs[0] if len(outputs) == 1 else tuple(outputs)
