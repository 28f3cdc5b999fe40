"""Where a device gathers wrongly, a label's logit and an expert's score are found by comparison, with the same bits."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from neuron_trainer import accelerators
from neuron_trainer.models.blocks.moe import router
from neuron_trainer.models.blocks.moe.blocked import blocked
from neuron_trainer.models.blocks.moe.layer import within_capacity
from neuron_trainer.models.blocks.moe.products import Rows
from neuron_trainer.parallel.loss import next_token
from neuron_trainer.parallel.loss.preference import _counts, _tokens

ROWS, VOCABULARY = 64, 24
INDEXED = ("gather", "scatter", "index")


class Alone:
    """An axis of one process, which has the second half of a vocabulary."""

    def sum(self, values: Tensor) -> Tensor:
        return values

    max = sum


class Operators(TorchDispatchMode):
    """Names of the operators that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.bool_sums = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(function))
        self.bool_sums += ".sum." in str(function) and args[0].dtype is torch.bool
        return function(*args, **(kwargs or {}))

    @property
    def indexed(self) -> set[str]:
        return {name for name in self.names if any(word in name for word in INDEXED)}


def loss(dtype: torch.dtype, *, has_gather: bool) -> tuple[Tensor, Tensor]:
    """Of labels in the part, beside it and ignored; and the gradient."""
    generator = torch.Generator().manual_seed(1)
    logits = (torch.randn(ROWS, VOCABULARY, generator=generator) * 9).to(dtype)
    logits[:, 0] = -torch.inf
    labels = torch.randint(VOCABULARY + 1, 2 * VOCABULARY, (ROWS,), generator=generator)
    labels[:8], labels[8:16] = -100, torch.arange(8)
    weights = torch.rand(ROWS, generator=generator)
    own = logits.requires_grad_()
    each = next_token._SplitCrossEntropy.apply(own, labels, next_token._Part(VOCABULARY, Alone(), has_gather))
    (each * weights).sum().backward()
    assert own.grad is not None
    return each.detach(), own.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_split_loss_without_gather_is_that_with_it(dtype: torch.dtype) -> None:
    with Operators() as called:
        found = loss(dtype, has_gather=False)
    assert called.indexed == set()
    with Operators() as called:
        wanted = loss(dtype, has_gather=True)
    assert called.indexed
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert torch.isfinite(found[1]).all()


def test_the_device_decides() -> None:
    assert {name: accelerators.get(name).has_gather for name in accelerators.names()} == {
        "cpu": True, "neuron": True, "xla": False, "cuda": True,
    }  # fmt: skip


def test_labels_and_pairs_are_counted_in_fp32() -> None:
    labels = torch.full((4, 8), -100)
    labels[0, :3], labels[2, :5] = 1, 0
    with Operators() as called:
        counted, tokens = next_token.count_labels(labels.flatten(), 0), _tokens(labels)
    assert called.bool_sums == 0
    assert counted.dtype is torch.float32 and counted == 8
    assert tokens.dtype is torch.float32 and tokens.tolist() == [[3, 5], [0, 0]]
    assert _counts(tokens).tolist() == [True, False]


def test_scores_of_chosen_experts_are_those_that_gather_gives() -> None:
    generator = torch.Generator().manual_seed(2)
    scores = torch.rand(2, 8, 5, generator=generator)
    chosen = scores.topk(3, dim=-1).indices
    weights = torch.rand(2, 8, 3, generator=generator)
    made = []
    for choose in (router.of_experts, lambda values, places: values.gather(-1, places)):
        own = scores.clone().requires_grad_()
        of_chosen = choose(own, chosen)
        (of_chosen * weights).sum().backward()
        assert own.grad is not None
        made.append((of_chosen.detach(), own.grad))
    assert all(torch.equal(one, other) for one, other in zip(*made, strict=True))


def test_a_routing_gathers_nothing_and_sums_no_bool() -> None:
    logits = torch.linspace(-1, 1, 2 * 8 * 4).view(2, 8, 4)
    chosen = logits.topk(2, dim=-1).indices
    with Operators() as called:
        router.of_experts(logits, chosen)
        router.shares(logits, chosen)
        within_capacity(chosen, 4, 3)
    assert (called.indexed, called.bool_sums) == (set(), 0)


def test_blocks_of_experts_are_counted_without_a_sum_of_bool() -> None:
    experts = torch.tensor([0, 0, 0, 0, 0, 2, 1, 3])
    with Operators() as called:
        made = blocked(Rows(experts, 4, 8, is_exact=True))
    assert called.bool_sums == 0
    assert made.owner is not None and made.owner.tolist() == [0, 0, 0, 1, 2, 3]
