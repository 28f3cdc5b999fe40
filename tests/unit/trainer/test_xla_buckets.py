"""Collectives of the backend `xla` have bytes of a device, and none has more than is known to be right."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from neuron_api.derive.precision import PrecisionPolicy
from neuron_trainer.parallel.xla.gradients import Gradients

POLICY = PrecisionPolicy("bf16", True, "fp32", "fp32", "bf16")


@dataclass(eq=False)
class Two:
    """An axis of two processes, of which the other has the same."""

    size: int = 2
    sums: list[int] = field(default_factory=list)
    """Bytes of each."""

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """As `Axis.sum`."""
        self.sums.append(values.nbytes)
        return values * 2


def reduced(bucket: int | None, *counts: int) -> tuple[list[int], list[torch.Tensor]]:
    """Bytes of the sums of weights of so many numbers, and their gradients: means of equal ones."""
    axis = Two()
    parameters: list[Any] = []
    for number, count in enumerate(counts):
        used = torch.nn.Parameter(torch.zeros(count, dtype=torch.bfloat16))
        used.grad = torch.arange(count).remainder(97).to(torch.bfloat16)
        leaf = torch.nn.Parameter(torch.empty(count))
        parameters.append(
            SimpleNamespace(name=str(number), used=used, total=None, data=axis, sharded=None, samples=2, leaf=leaf)
        )
    gradients = Gradients(parameters, POLICY, None, bucket)
    gradients.begin(1)
    gradients.add()
    gradients.reduce(1)
    return axis.sums, [parameter.leaf.grad for parameter in parameters]


@pytest.mark.parametrize("counts", [(700_000,), (100_000, 700_000, 10), (250_000,), (3,)])
def test_a_sum_of_a_larger_weight_is_made_in_pieces(counts: tuple[int, ...]) -> None:
    sums, gradients = reduced(1, *counts)
    assert max(sums) <= 10**6
    assert sum(sums) == 4 * sum(counts)
    for count, gradient in zip(counts, gradients, strict=True):
        assert torch.equal(gradient, torch.arange(count).remainder(97).float())


def test_no_sum_has_more_than_65_megabytes() -> None:
    sums, _ = reduced(1024, 17_000_000)
    assert sums == [65 * 10**6, 3 * 10**6]
