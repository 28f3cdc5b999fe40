"""The token shuffle: tokens of a group are mixed, and every one comes back to its place; with its gradient, too."""

import os
from pathlib import Path

import pytest

from . import ranks
from .ranks import GLOO_TIMEOUT

pytestmark = pytest.mark.distributed


@pytest.mark.parametrize("size", [2, 4])
def test_tokens_are_mixed_and_come_back_exactly(size: int, tmp_path: Path) -> None:
    ranks.run(_rank, size, str(tmp_path / "store"))


def _rank(rank: int, size: int, store: str) -> None:
    import torch
    import torch.distributed as dist

    from neuron_trainer.parallel.axis import GroupAxis
    from neuron_trainer.parallel.expert.token_shuffle import Shuffle

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=size, timeout=GLOO_TIMEOUT)
    assert dist.group.WORLD is not None
    shuffle = Shuffle(GroupAxis(dist.group.WORLD))
    batch, length = 2, 16
    # Token t of process r is the number r * T + t.
    names = (torch.arange(batch * length).view(batch, length, 1) + rank * batch * length).float()
    torch.manual_seed(3)
    orders = []
    for is_random in (True, True, False, False):
        states = names.clone().requires_grad_()
        before = torch.get_rng_state()
        mixed, order = shuffle.train(is_random).mix(states)
        assert torch.equal(before, torch.get_rng_state()) is not is_random
        assert mixed.shape == states.shape
        orders.append(mixed.detach().flatten())
        origins = orders[-1].div(batch * length, rounding_mode="floor").long().bincount(minlength=size)
        assert origins.tolist() == [batch * length // size] * size, "an equal part of each process's"
        back = order.back(mixed * 2)
        assert torch.equal(back, 2 * states)
        back.backward(states.detach())
        assert torch.equal(states.grad, 2 * states)
    assert not torch.equal(orders[0], orders[1]), "each step has an order of its own"
    assert torch.equal(orders[2], orders[3]), "evaluation always has the same"
    whole = [torch.empty_like(orders[0]) for _ in range(size)]
    dist.all_gather(whole, orders[0])
    assert torch.cat(whole).sort().values.tolist() == list(range(size * batch * length)), "no token is lost"
    dist.destroy_process_group()
