"""What a schedule of micro-batches is, and what goes through it: batches, targets and values of a loss."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
NO_METRICS: Final[Mapping[str, Tensor]] = {}


class Targets(NamedTuple):
    """What a micro-batch's output is compared with."""

    labels: Tensor
    """[b, S], the target of the output at t in place t."""
    reference: Tensor | None = None
    """[b / 2, 2] for rows of pairs: see `Pairs`."""


class LossValue(NamedTuple):
    """Of one micro-batch, or the mean over several."""

    loss: Tensor
    """fp32 scalar."""
    metrics: Mapping[str, Tensor] = NO_METRICS
    """fp32 scalars, without gradients."""


class Loss(Protocol):
    """From a model's output for a micro-batch to its loss."""

    metrics: tuple[str, ...]
    """Names of the metrics that it gives."""

    def __call__(self, output: Any, targets: Targets) -> LossValue: ...


Measure = Callable[[Any, Targets], Tensor]
"""From a model's output for a micro-batch to a tensor."""


class MicroBatch(NamedTuple):
    """What goes through the model at once."""

    ids: Tensor
    """Token ids of this process's part."""
    targets: Targets
    further: Mapping[str, Tensor]
    """Arguments of the model by name, which every stage is given."""


class MicroBatchSchedule(Protocol):
    """Returns the mean over micro-batches."""

    def train(self, batches: Sequence[MicroBatch]) -> LossValue:
        """Train with the gradients of the sum, reduced over data-parallel processes in the last backward pass only.

        A backend divides them by the number of micro-batches: no backward pass begins with anything but 1, since
        compiled ones on TorchNeuron are reported to be wrong otherwise (docs/design/022-devices.md).
        """
        ...

    def evaluate(self, batches: Sequence[MicroBatch]) -> LossValue:
        """Without."""
        ...

    def measure(self, batches: Sequence[MicroBatch], measure: Measure) -> list[Tensor]:
        """Return what a measure gives for each micro-batch, without gradients; empty where the last stage of the
        pipeline is elsewhere."""
        ...


def sum_of_losses(losses: Sequence[Tensor]) -> Tensor:
    """Return the sum of losses, added in their order."""
    total = torch.zeros_like(losses[0])
    for loss in losses:
        total += loss
    return total


def mean_of_metrics(values: Sequence[LossValue]) -> Mapping[str, Tensor]:
    names = values[0].metrics
    return {name: torch.stack([value.metrics[name] for value in values]).mean() for name in names}


class GradientAccumulation:
    """See `MicroBatchSchedule`: one after the other, where the whole model is here."""

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        *,
        begin: Callable[[bool], None] = lambda _: None,
        finish: Callable[[], None] = lambda: None,
        after_forward: Callable[[], None] = lambda: None,
    ) -> None:
        """`begin` is called before each micro-batch of training, with whether it is the last; `finish` after each;
        `after_forward` after each one without gradients."""
        self._module, self._loss = module, loss
        self._begin, self._finish, self._after_forward = begin, finish, after_forward

    def train(self, batches: Sequence[MicroBatch]) -> LossValue:
        """See `MicroBatchSchedule`."""
        values = []
        for index, batch in enumerate(batches):
            self._begin(index == len(batches) - 1)
            loss, metrics = self._value(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            values.append(LossValue(loss.detach(), metrics))
            self._finish()
        if len(values) == 1:
            return values[0]
        shares = [value.loss / len(values) for value in values]
        return LossValue(sum_of_losses(shares), mean_of_metrics(values))

    def evaluate(self, batches: Sequence[MicroBatch]) -> LossValue:
        """See `MicroBatchSchedule`."""
        values = self._without_gradients(batches, self._loss)
        return LossValue(torch.stack([value.loss for value in values]).mean(), mean_of_metrics(values))

    def measure(self, batches: Sequence[MicroBatch], measure: Measure) -> list[Tensor]:
        """See `MicroBatchSchedule`."""
        return self._without_gradients(batches, measure)

    @torch.no_grad()
    def _without_gradients(self, batches: Sequence[MicroBatch], measure: Callable[[Any, Targets], T]) -> list[T]:
        values = []
        for batch in batches:
            values.append(measure(self._module(batch.ids, **batch.further), batch.targets))
            self._after_forward()
        return values

    def _value(self, batch: MicroBatch) -> LossValue:
        return self._loss(self._module(batch.ids, **batch.further), batch.targets)
