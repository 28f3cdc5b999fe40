"""Queries of one part of a sample on the keys of one part: what the kernels of ring attention take.

Here the arithmetic is matrix products and a softmax: any device has these, and they can drop. A static number of
queries at once, so that of the scores [B, heads, S/CP, S/CP] a part is in memory; fp32 throughout (a compiler for
Trainium multiplies fp32 as it is told to, by default in bf16 with sums in fp32).
"""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

import torch
from torch import Tensor

from neuron_trainer.models.blocks.dropout import keep_factors

_STREAM = 15_485_863
"""Between the random streams of the pairs of one process."""


class AttentionMask(NamedTuple):
    """What the queries see of these keys."""

    is_causal: bool
    mask: Tensor | None
    """Added to the scores, [S/CP, S/CP] or [B, 1, S/CP, S/CP], in the dtype of the queries."""


class DropoutState(NamedTuple):
    """Which probabilities are dropped, the same in the backward pass."""

    probability: float
    seed: int | Tensor

    def of_pair(self, distance: int) -> "DropoutState":
        """Masks of its own for the keys of each part."""
        return DropoutState(self.probability, self.seed + _STREAM * distance)


class PairKernel(Protocol):
    """The arithmetic, of [B, heads, S/CP, D] each (arXiv:2205.14135, 3.2). A module is one."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: AttentionMask, drop: DropoutState | None, /
    ) -> tuple[Tensor, Tensor]:
        """Return the attention over these keys alone (fp32) and its log-sum-exp [B, heads, S/CP]."""
        ...

    def backward(
        self,
        gradient: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        out: Tensor,
        log_sum: Tensor,
        mask: AttentionMask,
        drop: DropoutState | None,
        /,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of the three; `out` and `log_sum` are those over all keys of the sample."""
        ...


_ROWS: Final = 1024
"""Queries at once: with 4 heads and 16,384 keys their scores are 256 MiB."""


class _Rows(NamedTuple):
    """Some of the queries."""

    start: int
    size: int

    def cut(self, tensor: Tensor) -> Tensor:
        """[..., S/CP, n] to [..., size, n]."""
        return tensor.narrow(-2, self.start, self.size)


def forward(
    query: Tensor, key: Tensor, value: Tensor, mask: AttentionMask, drop: DropoutState | None
) -> tuple[Tensor, Tensor]:
    """See `PairKernel`."""
    factors = _factors(query, key, drop)
    outs, log_sums = [], []
    for rows in _blocks(query):
        scores = _scores(query, key, mask, rows)
        log_sum = scores.logsumexp(dim=-1)
        # A query that sees none of these keys has -inf: its probabilities are exp(-inf - 0) = 0.
        finite = log_sum.masked_fill(log_sum.isneginf(), 0.0)
        probabilities = (scores - finite.unsqueeze(-1)).exp()
        if factors is not None:
            probabilities = probabilities * rows.cut(factors)
        outs.append(probabilities @ value.float())
        log_sums.append(log_sum)
    return torch.cat(outs, dim=2), torch.cat(log_sums, dim=2)


def backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    log_sum: Tensor,
    mask: AttentionMask,
    drop: DropoutState | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """See `PairKernel`."""
    factors = _factors(query, key, drop)
    of_query: list[Tensor] = []
    of_key = torch.zeros(key.shape, dtype=torch.float32, device=key.device)
    of_value = torch.zeros(value.shape, dtype=torch.float32, device=value.device)
    for rows in _blocks(query):
        wide, sums = rows.cut(gradient).float(), log_sum.narrow(-1, rows.start, rows.size)
        probabilities = (_scores(query, key, mask, rows) - sums.unsqueeze(-1)).exp()
        of_probabilities, weights = wide @ value.float().transpose(-2, -1), probabilities
        if factors is not None:
            own = rows.cut(factors)
            of_probabilities, weights = of_probabilities * own, probabilities * own
        of_scores = probabilities * (of_probabilities - (wide * rows.cut(out).float()).sum(dim=-1, keepdim=True))
        of_scores = of_scores / math.sqrt(query.shape[-1])
        of_query.append(of_scores @ key.float())
        of_key = of_key + of_scores.transpose(-2, -1) @ rows.cut(query).float()
        of_value = of_value + weights.transpose(-2, -1) @ wide
    return torch.cat(of_query, dim=2), of_key, of_value


def _blocks(query: Tensor) -> Iterator[_Rows]:
    length = query.shape[2]
    for start in range(0, length, _ROWS):
        yield _Rows(start, min(_ROWS, length - start))


def _factors(query: Tensor, key: Tensor, drop: DropoutState | None) -> Tensor | None:
    """Return those of all probabilities of the pair at once, which is how every process draws them."""
    if drop is None:
        return None
    shape = (*query.shape[:-1], key.shape[2])
    return keep_factors(torch.empty(shape, dtype=torch.float32, device=query.device), *drop)


def _scores(query: Tensor, key: Tensor, mask: AttentionMask, rows: _Rows) -> Tensor:
    """fp32 [B, heads, size, S/CP], -inf where a query does not see a key."""
    scores = rows.cut(query).float() @ key.float().transpose(-2, -1) / math.sqrt(query.shape[-1])
    if mask.is_causal:
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).triu(1 + rows.start)
        return scores.masked_fill(hidden, -torch.inf)
    return scores if mask.mask is None else scores + rows.cut(mask.mask).float()
