"""Ring attention is PyTorch's attention over the whole sequence, in its output and in every gradient; windows, too."""

import os
from pathlib import Path
from typing import Any

import pytest

from . import ranks
from .ranks import GLOO_TIMEOUT

pytestmark = pytest.mark.distributed

SHAPES = {"as many key heads": (4, 4), "grouped heads": (4, 2), "one key head": (4, 1)}
SEQUENCE = 64
WINDOWS = (None, 1, 5, 16, 17, 33, 48, 63, 64, 100)
"""Of parts of 32 and 16 tokens: within a part, over several, over all."""


@pytest.mark.parametrize("size", [2, 4])
def test_parts_give_what_the_whole_gives(size: int, tmp_path: Path) -> None:
    ranks.run(_compare, size, str(tmp_path / "store"))


def _compare(rank: int, size: int, store: str) -> None:
    import torch
    import torch.distributed as dist

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=size, timeout=GLOO_TIMEOUT)
    for heads, kv_heads in SHAPES.values():
        for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 2e-2)):
            _case(rank, size, heads, kv_heads, dtype, tolerance, None)
    for window in WINDOWS:
        _case(rank, size, 4, 2, torch.float32, 1e-6, window)
    _case(rank, size, 4, 2, torch.bfloat16, 2e-2, 17)
    dist.destroy_process_group()


def _case(rank: int, size: int, heads: int, kv_heads: int, dtype: Any, tolerance: float, window: int | None) -> None:
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F

    from neuron_trainer.parallel.native.ring_attention import ring_attention

    torch.manual_seed(5)
    whole = [torch.randn(2, n, SEQUENCE, 8, dtype=dtype) for n in (heads, kv_heads, kv_heads)]
    gradient = torch.randn(2, heads, SEQUENCE, 8, dtype=dtype)
    for tensor in whole:
        tensor.requires_grad_()
    mask = None if window is None else torch.ones(SEQUENCE, SEQUENCE, dtype=torch.bool).tril().triu(1 - window)
    wanted = F.scaled_dot_product_attention(*whole, attn_mask=mask, is_causal=mask is None, enable_gqa=True)
    wanted.backward(gradient)
    # As a model has them: heads are a view of [B, S, features].
    parts = [
        tensor.detach().chunk(size, dim=2)[rank].transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
        for tensor in whole
    ]
    assert dist.group.WORLD is not None
    found = ring_attention(*parts, dist.group.WORLD, window)
    found.backward(gradient.chunk(size, dim=2)[rank])
    torch.testing.assert_close(found, wanted.chunk(size, dim=2)[rank], rtol=tolerance, atol=tolerance)
    for part, tensor in zip(parts, whole, strict=True):
        assert part.grad is not None and tensor.grad is not None
        expected = tensor.grad.chunk(size, dim=2)[rank]
        torch.testing.assert_close(part.grad, expected, rtol=10 * tolerance, atol=10 * tolerance)
