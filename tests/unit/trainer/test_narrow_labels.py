"""Labels in int32, as a device has them, give what PyTorch's own loss gives for int64."""

from typing import Literal

import pytest
import torch

from neuron_trainer.models.spec import Part
from neuron_trainer.parallel.loss.next_token import IGNORED_LABEL, CrossEntropy, cross_entropy
from neuron_trainer.parallel.schedule import Targets


@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_loss_and_gradient_are_those_of_int64(reduction: Literal["none", "sum"]) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 11, (2, 5), generator=generator)
    labels[0, 1], labels[1] = IGNORED_LABEL, IGNORED_LABEL
    logits = torch.randn(2, 5, 11, generator=generator)
    losses, gradients = [], []
    for each in (labels, labels.int()):
        own = logits.clone().requires_grad_()
        losses.append(cross_entropy(own, each, reduction))
        losses[-1].sum().backward()
        gradients.append(own.grad)
    assert torch.allclose(*losses, rtol=1e-6)
    assert gradients[0] is not None and gradients[1] is not None
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-6, atol=1e-7)


def test_the_mean_is_over_the_labels_that_count() -> None:
    labels = torch.tensor([[3, IGNORED_LABEL, 1, 0]])
    loss, logits = CrossEntropy(Part(0, 4, 4)), torch.zeros(1, 4, 8)
    assert loss.count(labels).item() == 3
    values = [loss(logits, Targets(each)).loss.item() for each in (labels, labels.int())]
    assert values == pytest.approx([torch.log(torch.tensor(8.0)).item()] * 2, rel=1e-6)
