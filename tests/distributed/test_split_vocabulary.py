"""An embedding and a cross-entropy over a split vocabulary are those of the whole one, with static shapes."""

import os
from pathlib import Path

import pytest

from . import ranks
from .ranks import GLOO_TIMEOUT

pytestmark = pytest.mark.distributed

VOCABULARY, HIDDEN, BATCH, LENGTH = 24, 6, 2, 8


@pytest.mark.parametrize("size", [2, 4])
def test_parts_give_what_the_whole_gives(size: int, tmp_path: Path) -> None:
    ranks.run(_compare, size, str(tmp_path / "store"))


def _compare(rank: int, size: int, store: str) -> None:
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=size, timeout=GLOO_TIMEOUT)
    mesh = init_device_mesh("cpu", (size,), mesh_dim_names=("tensor",))
    for dtype in ("float32", "bfloat16"):
        for is_sequence in (False, True):
            _embedding(mesh, dtype, is_sequence=is_sequence)
        for scale in (1.0, 300.0):
            for reduction in ("none", "sum"):
                _loss(mesh, dtype, scale, reduction)
    _loss_of_infinite_logits(mesh)
    _static(mesh)
    dist.destroy_process_group()


def _embedding(mesh: object, dtype: str, *, is_sequence: bool) -> None:
    import torch
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.parallel import parallelize_module

    from neuron_trainer.parallel.native.tensor.tensor_parallel import SplitEmbedding

    torch.manual_seed(1)
    whole = torch.nn.Embedding(VOCABULARY, HIDDEN, dtype=getattr(torch, dtype))
    split = torch.nn.Embedding(VOCABULARY, HIDDEN, dtype=whole.weight.dtype)
    split.load_state_dict(whole.state_dict())
    parallelize_module(split, mesh, SplitEmbedding(output_layouts=Shard(1) if is_sequence else Replicate()))
    ids = torch.randint(VOCABULARY, (BATCH, LENGTH))
    gradient = torch.randn(BATCH, LENGTH, HIDDEN, dtype=whole.weight.dtype)
    wanted, found = whole(ids), split(ids)
    if is_sequence:
        rank, size = mesh.get_local_rank(), mesh.size()
        assert torch.equal(found, wanted.chunk(size, 1)[rank])
        found.backward(gradient.chunk(size, 1)[rank])
    else:
        assert torch.equal(found, wanted)
        found.backward(gradient)
    wanted.backward(gradient)
    assert torch.equal(split.weight.grad.full_tensor(), whole.weight.grad)


def _loss(mesh: object, dtype: str, scale: float, reduction: str) -> None:
    import torch
    from torch.nn.functional import cross_entropy as reference

    torch.manual_seed(2)
    logits = (torch.randn(BATCH, LENGTH, VOCABULARY) * scale).to(getattr(torch, dtype))
    labels = torch.randint(VOCABULARY, (BATCH, LENGTH))
    for ignored in (0, 3, BATCH * LENGTH):
        labels.view(-1)[:ignored] = -100
        whole = logits.clone().requires_grad_()
        wanted = reference(whole.float().flatten(0, 1), labels.flatten(), ignore_index=-100, reduction=reduction)
        found, gradient = _split_loss(mesh, logits, labels, reduction)
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
        (wanted * 0.3).sum().backward()
        tolerance = 1e-6 if dtype == "float32" else 1e-2
        torch.testing.assert_close(gradient, whole.grad, rtol=tolerance, atol=tolerance / 10)
        assert gradient.dtype is logits.dtype


def _split_loss(mesh: object, logits: object, labels: object, reduction: str) -> tuple[object, object]:
    """Return the loss, and the whole gradient of 0.3 of it."""
    import torch
    from torch.distributed.tensor import DTensor, Shard, distribute_tensor

    from neuron_trainer.parallel.loss.next_token import cross_entropy

    split = distribute_tensor(logits, mesh, [Shard(2)]).requires_grad_()
    found = cross_entropy(split, labels, reduction)
    assert found.dtype is torch.float32
    (found * 0.3).sum().backward()
    assert isinstance(split.grad, DTensor)
    return found.detach(), split.grad.full_tensor()


def _loss_of_infinite_logits(mesh: object) -> None:
    """A vocabulary entry that is masked by -inf on one process changes nothing but its own probability."""
    import torch
    from torch.nn.functional import cross_entropy as reference

    torch.manual_seed(3)
    logits = torch.randn(BATCH, LENGTH, VOCABULARY)
    logits[..., 0] = -torch.inf
    labels = torch.randint(1, VOCABULARY, (BATCH, LENGTH))
    found, gradient = _split_loss(mesh, logits, labels, "sum")
    torch.testing.assert_close(found, reference(logits.flatten(0, 1), labels.flatten(), reduction="sum"))
    assert torch.isfinite(gradient).all()


def _static(mesh: object) -> None:
    """The same operations with other labels, in the backward pass, too; nothing is read."""
    import torch
    from torch.distributed.tensor import DTensor, Replicate, Shard
    from torch.distributed.tensor.parallel import parallelize_module

    from neuron_trainer.parallel.loss.next_token import cross_entropy
    from neuron_trainer.parallel.native.tensor.tensor_parallel import SplitEmbedding
    from static_shapes import assert_static

    def compute(ids: torch.Tensor, labels: torch.Tensor) -> None:
        torch.manual_seed(4)
        embedding = torch.nn.Embedding(VOCABULARY, VOCABULARY)
        parallelize_module(embedding, mesh, SplitEmbedding(output_layouts=Replicate()))
        own = embedding(ids).chunk(mesh.size(), dim=2)[mesh.get_local_rank()]
        logits = DTensor.from_local(own, mesh, [Shard(2)], run_check=False)
        cross_entropy(logits, labels, "sum").backward()

    ids = torch.randint(VOCABULARY, (BATCH, LENGTH))
    nowhere, ends = torch.full_like(ids, -100), torch.full_like(ids, VOCABULARY - 1)
    compute(ids, ids)  # DTensor plans each operation once
    assert_static(compute, (ids, ids), (ends, nowhere), (torch.zeros_like(ids), ends))
