"""Ring attention is PyTorch's attention over the whole sequence, in its output and in every gradient.

Over windows, over documents that do not see each other, and with the same probabilities dropped. By sends and by
collectives the numbers are the same bit for bit; the kernel for devices gives those of PyTorch's, too.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import ranks
from .ranks import GLOO_TIMEOUT

pytestmark = pytest.mark.distributed

SEQUENCE = 64
ENDS = ((9, 10, 40), (16, 31, 32))
"""Where documents of the two samples end, beside the end: inside of parts and at their borders."""


@dataclass(frozen=True)
class Case:
    """One attention."""

    heads: int = 4
    kv_heads: int = 2
    dtype: str = "float32"
    window: int | None = None
    has_documents: bool = False
    dropout: float = 0.0

    @property
    def tolerance(self) -> float:
        return 1e-6 if self.dtype == "float32" else 2e-2


HEADS = [Case(heads=4, kv_heads=n, dtype=dtype) for n in (4, 2, 1) for dtype in ("float32", "bfloat16")]
WINDOWS = [Case(window=n) for n in (1, 5, 16, 17, 33, 48, 63, 64, 100)] + [Case(window=17, dtype="bfloat16")]
"""Of parts of 32 and 16 tokens: within a part, over several, over all."""
DOCUMENTS = [
    Case(has_documents=True, window=n, dtype=dtype) for n in (None, 5, 33) for dtype in ("float32", "bfloat16")
]
DROPPED = [
    Case(dropout=p, window=window, has_documents=documents)
    for p in (1e-9, 0.4)
    for window in (None, 17)
    for documents in (False, True)
]
CASES = [*HEADS, *WINDOWS, *DOCUMENTS, *DROPPED, Case(dropout=0.4, dtype="bfloat16")]


@pytest.mark.parametrize("size", [2, 4])
def test_parts_give_what_the_whole_gives(size: int, tmp_path: Path) -> None:
    ranks.run(_compare, size, str(tmp_path / "store"))


def _compare(rank: int, size: int, store: str) -> None:
    import torch.distributed as dist

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=size, timeout=GLOO_TIMEOUT)
    for case in CASES:
        _case(rank, size, case)
    dist.destroy_process_group()


def _case(rank: int, size: int, case: Case) -> None:
    import torch
    import torch.distributed as dist

    from neuron_trainer.models.blocks.dropout import Dropout
    from neuron_trainer.parallel.native.context import exchange, host_attention, pair_attention
    from neuron_trainer.parallel.native.context.ring_attention import ring_attention

    torch.manual_seed(5)
    dtype = getattr(torch, case.dtype)
    whole = [torch.randn(2, n, SEQUENCE, 8, dtype=dtype) for n in (case.heads, case.kv_heads, case.kv_heads)]
    gradient = torch.randn(2, case.heads, SEQUENCE, 8, dtype=dtype)
    documents = _documents() if case.has_documents else None
    for tensor in whole:
        tensor.requires_grad_()
    dropout = Dropout(case.dropout)
    dropout.stream = rank
    state = torch.get_rng_state()
    factors = _factors(case, size, rank, dropout)
    torch.set_rng_state(state)
    wanted = _attention(whole, _seen(case, documents), factors)
    wanted.backward(gradient)  # type: ignore[no-untyped-call]
    # As a model has them: heads are a view of [B, S, features].
    parts = [tensor.detach().chunk(size, dim=2)[rank].transpose(1, 2).contiguous().transpose(1, 2) for tensor in whole]
    group = dist.group.WORLD
    assert group is not None
    numbers = []
    for kernel in (host_attention, pair_attention):
        for form in (exchange.RingExchange(group), exchange.GatheredExchange(group)):
            torch.set_rng_state(state)
            leaves = [part.detach().clone().requires_grad_() for part in parts]
            found = ring_attention(
                *leaves, documents, exchange=form, kernel=kernel, window=case.window, dropout=dropout
            )
            found.backward(gradient.chunk(size, dim=2)[rank])  # type: ignore[no-untyped-call]
            numbers.append([found, *(leaf.grad for leaf in leaves)])
    for sent, gathered in (numbers[:2], numbers[2:]):
        assert all(map(torch.equal, sent, gathered)), case
        whole_numbers = [wanted, *(tensor.grad for tensor in whole)]
        for number, (own, every) in enumerate(zip(sent, whole_numbers, strict=True)):
            tolerance = case.tolerance * (10 if number else 1)
            _assert_near(own, every.chunk(size, dim=2)[rank], tolerance, f"{case}, tensor {number}")


def _assert_near(found: Any, wanted: Any, tolerance: float, label: str) -> None:
    import torch

    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance, msg=lambda words: f"{label}: {words}")


def _documents() -> Any:
    import torch

    places = torch.arange(SEQUENCE)
    return torch.stack([sum((places >= end).long() for end in ends) for ends in ENDS])


def _seen(case: Case, documents: Any) -> Any:
    import torch

    seen = torch.ones(SEQUENCE, SEQUENCE, dtype=torch.bool).tril().triu(1 - (case.window or SEQUENCE))
    if documents is None:
        return seen
    return seen & (documents[:, None, :, None] == documents[:, None, None, :])


def _factors(case: Case, size: int, rank: int, dropout: Any) -> Any:
    """What the probabilities of the whole are multiplied with, put together from what every process draws."""
    import torch
    import torch.distributed as dist

    from neuron_trainer.models.blocks.dropout import keep_factors
    from neuron_trainer.parallel.native.context.pair_attention import DropoutState

    if (seed := dropout.seed()) is None:
        return None
    part = SEQUENCE // size
    own = torch.zeros(2, case.heads, part, SEQUENCE)
    for theirs in range(rank + 1):
        drawn = keep_factors(own[..., :part], *DropoutState(case.dropout, seed).of_pair(rank - theirs))
        own[..., theirs * part : (theirs + 1) * part] = drawn
    each = [torch.empty_like(own) for _ in range(size)]
    dist.all_gather(each, own)
    factors = torch.cat(each, dim=2)
    if case.dropout > 0.1:
        seen = factors.tril()
        assert abs((seen == 0).float().mean().item() - (1 - (1 - case.dropout) * (SEQUENCE + 1) / 2 / SEQUENCE)) < 0.02
        assert not torch.equal(each[0][..., :part], each[1][..., part : 2 * part]), "parts have masks of their own"
    return factors


def _attention(whole: list[Any], seen: Any, factors: Any) -> Any:
    import torch
    import torch.nn.functional as F

    if factors is None:
        return F.scaled_dot_product_attention(*whole, attn_mask=seen, enable_gqa=True)
    query, key, value = whole
    copies = query.shape[1] // key.shape[1]
    key, value = (one.repeat_interleave(copies, dim=1).float() for one in (key, value))
    scores = query.float() @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    probabilities = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1)
    return ((probabilities * factors) @ value).to(query.dtype)
