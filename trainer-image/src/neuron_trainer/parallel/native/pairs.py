"""Batches of pairs as rows of micro-batches: in each, the chosen answers first."""

from torch import Tensor


def rows(values: Tensor, pairs: int) -> Tensor:
    """[n, 2, S] to [2n, S], in micro-batches of so many pairs, and so of twice as many rows."""
    return values.view(-1, pairs, 2, *values.shape[2:]).transpose(1, 2).flatten(0, 2)


def columns(values: Tensor, pairs: int) -> Tensor:
    """[2n], in the order of `rows`, to [n, 2]."""
    return values.view(-1, 2, pairs).transpose(1, 2).reshape(-1, 2)
