"""The ring kernel of the Neuron SDK on two processes: its numbers are those of attention over gathered keys.

The kernel is the double's (tests/support/nxd_double.py), and the axis is that of a lazy device. It does not prove that
the SDK's kernel compiles, nor that its collectives run.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from . import ranks
from .ranks import GLOO_TIMEOUT

pytestmark = pytest.mark.distributed

PART = 1024


def test_a_ring_gives_what_gathered_keys_give(tmp_path: Path) -> None:
    ranks.run(_compare, 2, str(tmp_path / "store"))


def _compare(rank: int, size: int, store: str) -> None:
    import torch
    import torch.distributed as dist
    from torch import nn

    import nxd_double
    from neuron_trainer.models.blocks.attention import CoreAttention
    from neuron_trainer.parallel.axis import GroupAxis
    from neuron_trainer.parallel.xla.attention import context, kernels
    from neuron_trainer.parallel.xla.replicas import ReplicaAxis

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=size, timeout=GLOO_TIMEOUT)
    group = dist.group.WORLD
    assert group is not None
    torch.manual_seed(rank)
    inputs = [torch.randn(1, heads, PART, 4).requires_grad_() for heads in (4, 2, 2)]
    core = CoreAttention()
    context.apply(nn.ModuleList([core]), GroupAxis(group))
    gathered = core.kernel
    wanted = _numbers(core, inputs)
    with nxd_double.installed() as calls:
        typed: Any = type("Config", (), {"model": type("Model", (), {"fusions": _Fusions()})()})()
        kernels.apply(nn.ModuleList([core]), typed, ReplicaAxis(((0, 1),), (0, 1), rank))
        assert isinstance(core.kernel, kernels.SdkKernel)
        assert core.kernel.otherwise is gathered
        found = _numbers(core, inputs)
        assert calls == [("ring", (1, 4, PART, 4), torch.float32, rank)]
        documents = torch.zeros(1, PART * size, dtype=torch.int64)
        core(*inputs, documents)
        assert len(calls) == 1, "documents are the gathered keys'"
    for own, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-5)
    dist.destroy_process_group()


class _Fusions:
    flash_attention, ring_attention, softmax = False, True, False


def _numbers(core: Any, inputs: list[Any]) -> list[Any]:
    import torch

    out = core(*inputs, None)
    weights = torch.linspace(-1, 1, out.numel()).view(out.shape)
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), inputs)]
