"""Where programs end on a lazy device: after each micro-batch; and what a step's sums and late reads begin with."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neuron_trainer import accelerators
from neuron_trainer.metrics.step_results import LateRead
from neuron_trainer.parallel.schedule import GradientAccumulation, LossValue, MicroBatch, Targets
from neuron_trainer.parallel.xla.gradients import Gradients


class Log(list[str]):
    """What was called, in its order."""

    def __call__(self, name: str) -> Any:
        return lambda *_: self.append(name)


class Model(nn.Module):
    """Says that it is called."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self.weight, self._log = nn.Parameter(torch.ones(())), log

    def forward(self, ids: Tensor) -> Tensor:
        self._log.append("forward")
        return ids * self.weight


BATCHES = [MicroBatch(torch.ones(2) * number, Targets(torch.zeros(2, dtype=torch.int64)), {}) for number in (1, 2, 3)]


def test_a_program_ends_after_each_micro_batch_with_gradients_and_without() -> None:
    log = Log()
    schedule = GradientAccumulation(
        Model(log), lambda output, _: LossValue(output.sum()), finish=log("finish"), after_forward=log("after")
    )
    assert schedule.evaluate(BATCHES).loss == 4
    assert log == ["forward", "after"] * 3
    log.clear()
    assert [value.item() for value in schedule.measure(BATCHES, lambda output, _: output.sum())] == [2, 4, 6]
    assert log == ["forward", "after"] * 3
    log.clear()
    schedule.train(BATCHES)
    assert log == ["forward", "finish"] * 3


@dataclass(eq=False)
class Parameter:
    """As much of a parameter as sums are about."""

    name: str
    used: nn.Parameter = field(default_factory=lambda: nn.Parameter(torch.zeros(50)))
    total: Tensor | None = None
    data: None = None
    sharded: None = None
    samples: int = 1

    @property
    def layout(self) -> Any:
        return SimpleNamespace(is_partial=False)

    @property
    def leaf(self) -> nn.Parameter:
        return self.used


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_sums_that_begin_with_zeros_have_the_same_bits(micro_batches: int) -> None:
    parameters = [Parameter("used"), Parameter("late"), Parameter("unused")]
    gradients = Gradients(parameters, SimpleNamespace(accumulation="fp32"), None, None)
    generator = torch.Generator().manual_seed(3)
    each = torch.randn(micro_batches, 2, 50, generator=generator)
    gradients.begin(micro_batches)
    assert [parameter.total is not None for parameter in parameters] == [micro_batches > 1] * 3
    for number in range(micro_batches):
        parameters[0].used.grad = each[number, 0].clone()
        parameters[1].used.grad = each[number, 1].clone() if number == micro_batches - 1 else None
        gradients.add()
    gradients.reduce(micro_batches)
    total = each[0, 0]
    for number in range(1, micro_batches):
        total = total + each[number, 0]
    assert parameters[0].leaf.grad is not None and torch.equal(parameters[0].leaf.grad, total / micro_batches)
    assert parameters[1].leaf.grad is not None and torch.equal(parameters[1].leaf.grad, each[-1, 1] / micro_batches)
    assert parameters[2].leaf.grad is None, "no gradient is another thing than one of zeros"


def test_a_lazy_device_is_given_the_numbers_of_a_step_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made when they are read, they would come after all that was given to the device since."""
    log = Log()
    lazy = replace(accelerators.get("cpu"), is_lazy=True)
    monkeypatch.setattr(accelerators, "get", lambda _: lazy)
    monkeypatch.setattr(torch, "get_device_module", lambda _: SimpleNamespace(dispatch=log("dispatch")))
    values = [torch.tensor(1.0), torch.tensor(2.0)]
    read = LateRead(values)
    assert log == ["dispatch"]
    for value in values:
        value.fill_(7.0)
    assert read.numbers() == [1.0, 2.0]
    assert log == ["dispatch"], "one program, and one read"
