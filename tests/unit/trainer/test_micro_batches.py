"""A step's micro-batches one after the other: where backward passes begin, and what their sum becomes."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from neuron_trainer.parallel.schedule import GradientAccumulation, LossValue, MicroBatch, Targets


class _Recorded(torch.autograd.Function):
    """Keeps what a backward pass begins with."""

    seen: ClassVar[list[float]] = []

    @staticmethod
    def forward(_: Any, loss: Tensor) -> Tensor:
        return loss.clone()

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        _Recorded.seen.append(gradient.item())
        return gradient


class _Loss:
    metrics = ("rows",)

    def __call__(self, output: Tensor, targets: Targets) -> LossValue:
        loss = (output.squeeze(-1) - targets.labels).square().mean()
        return LossValue(_Recorded.apply(loss), {"rows": torch.tensor(float(len(output)))})


def batches(count: int) -> list[MicroBatch]:
    generator = torch.Generator().manual_seed(count)
    return [
        MicroBatch(torch.randn(2, 3, generator=generator), Targets(torch.randn(2, generator=generator)), {})
        for _ in range(count)
    ]


def test_every_backward_pass_begins_with_one_and_the_loss_is_the_mean() -> None:
    module, every = nn.Linear(3, 1), batches(3)
    _Recorded.seen.clear()
    schedule = GradientAccumulation(module, _Loss())
    value = schedule.train(every)
    assert _Recorded.seen == [1.0, 1.0, 1.0]
    assert torch.allclose(value.loss, schedule.evaluate(every).loss)
    assert value.metrics["rows"] == 2.0
    summed = module.weight.grad
    module.zero_grad()
    sum((_Loss()(module(one.ids), one.targets).loss for one in every), torch.zeros(())).backward()
    assert summed is not None and torch.allclose(summed, module.weight.grad)
