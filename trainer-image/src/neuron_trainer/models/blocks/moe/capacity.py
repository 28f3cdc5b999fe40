"""Which assignments an expert of limited capacity takes."""

from math import ceil

import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def of_expert(tokens: int, top_k: int, factor: float, experts: int) -> int:
    """Tokens that one expert takes: min(T, ceil(T * top_k * factor / E))."""
    return min(tokens, ceil(tokens * top_k * factor / experts))


def kept(chosen: Tensor, experts: int, capacity: int) -> Tensor:
    """Whether an assignment is within the capacity of its expert, bool [B, S, top_k] from indices of that shape.

    First come, first kept, in the order of positions: all samples' first tokens, then their second ones. So whether a
    token is dropped does not depend on what comes after it.
    """
    batch, length, top_k = chosen.shape
    ordered = chosen.transpose(0, 1).reshape(-1, top_k)
    taken = F.one_hot(ordered, experts).sum(dim=1)
    before = taken.cumsum(dim=0) - taken
    within = before.gather(1, ordered) < capacity
    return within.view(length, batch, top_k).transpose(0, 1)
