"""Attention of a pair of parts in the form for devices gives what PyTorch's kernel for CPUs gives."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from neuron_trainer.parallel.native.context import host_attention, pair_attention
from neuron_trainer.parallel.native.context.pair_attention import AttentionMask, DropoutState

LENGTH = 24


@dataclass
class Pair:
    """Tensors of one pair of parts."""

    query: Tensor
    key: Tensor
    value: Tensor
    gradient: Tensor

    @classmethod
    def drawn(cls, scale: float = 1.0) -> "Pair":
        torch.manual_seed(3)
        return cls(*(scale * torch.randn(2, 3, LENGTH, 8) for _ in range(4)))

    @property
    def states(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.query, self.key, self.value


def _banded(width: int) -> AttentionMask:
    """The first queries see none of these keys, as in a window over two parts."""
    places = torch.arange(LENGTH)
    ages = LENGTH + places[:, None] - places
    return AttentionMask(False, torch.zeros(LENGTH, LENGTH).masked_fill(ages >= width, -torch.inf))


def _documents() -> AttentionMask:
    of_query, of_key = torch.randint(0, 3, (2, 2, LENGTH)).sort(dim=-1).values
    hidden = of_query[:, None, :, None] != of_key[:, None, None, :]
    return AttentionMask(False, torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf))


MASKS = {
    "own part": lambda: AttentionMask(True, None),
    "an earlier part": lambda: AttentionMask(False, None),
    "window": lambda: _banded(15),
    "documents": _documents,
}


@pytest.mark.parametrize("rows", [7, 1024])
@pytest.mark.parametrize("scale", [1.0, 6.0])
@pytest.mark.parametrize("name", MASKS)
def test_numbers_are_those_of_the_kernel_for_cpus(
    name: str, scale: float, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_attention, "_ROWS", rows)
    pair = Pair.drawn(scale)
    mask = MASKS[name]()
    wanted, found = (kernel.forward(*pair.states, mask, None) for kernel in (host_attention, pair_attention))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    # As if there were another part, which each query sees more of.
    out, log_sum = wanted[0] * 0.5, torch.logaddexp(wanted[1], torch.zeros(()))
    given = pair.gradient, *pair.states, out, log_sum, mask, None
    gradients = zip(pair_attention.backward(*given), host_attention.backward(*given), strict=True)
    for one, other in gradients:
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * other.abs().max().item())


def test_a_query_that_sees_nothing_has_zeros_and_no_nan() -> None:
    pair, mask = Pair.drawn(), _banded(15)
    out, log_sum = pair_attention.forward(*pair.states, mask, None)
    blind = mask.mask.isneginf().all(dim=-1) if mask.mask is not None else None
    assert blind is not None
    assert 0 < blind.sum() < LENGTH
    assert (out[:, :, blind] == 0).all()
    assert (log_sum[:, :, blind] == -torch.inf).all()
    assert out.isfinite().all()


def test_the_same_probabilities_are_dropped_however_many_queries_are_computed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair, mask, drop = Pair.drawn(), AttentionMask(True, None), DropoutState(0.4, 11)
    whole = pair_attention.forward(*pair.states, mask, drop)
    gradients = pair_attention.backward(pair.gradient, *pair.states, *whole, mask, drop)
    monkeypatch.setattr(pair_attention, "_ROWS", 5)
    torch.testing.assert_close(pair_attention.forward(*pair.states, mask, drop), whole)
    torch.testing.assert_close(pair_attention.backward(pair.gradient, *pair.states, *whole, mask, drop), gradients)
    assert not torch.allclose(whole[0], pair_attention.forward(*pair.states, mask, None)[0])
