"""The arithmetic of ring attention: queries of one part of a sample on the keys of one part (arXiv:2205.14135, 3.2).

Without dropout it is PyTorch's flash attention for CPUs, which returns the log-sum-exp that merging needs;
`scaled_dot_product_attention` itself does not. With dropout the probabilities of the pair are in memory, as they are
without a ring: the kernel would draw masks that no other part of the program can draw again.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from neuron_trainer.models.blocks.dropout import keep_factors

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

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


def forward(
    query: Tensor, key: Tensor, value: Tensor, mask: AttentionMask, drop: DropoutState | None
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """[B, heads, S/CP, D] each, to the attention over these keys alone (fp32) and its log-sum-exp [B, heads, S/CP]."""
    if drop is None:
        out, log_sum = _flash(query, key, value, 0.0, mask.is_causal, attn_mask=mask.mask)
        out = out.float()
    else:
        scores = _scores(query, key, mask)
        log_sum = scores.logsumexp(dim=-1)
        probabilities = (scores - log_sum.unsqueeze(-1)).exp().nan_to_num(0.0)
        out = (probabilities * keep_factors(probabilities, *drop)).to(value.dtype) @ value
        out = out.float()
    if mask.mask is not None:  # the kernel gives 0 for a query that sees none of these keys
        log_sum = log_sum.masked_fill(mask.mask.isneginf().all(dim=-1), -torch.inf)
    return out, log_sum


def backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, log_sum: Tensor, mask: AttentionMask,
    drop: DropoutState | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of the three; `out` and `log_sum` are those over all keys of the sample."""
    if drop is None:
        gradients: tuple[Tensor, Tensor, Tensor] = _flash_backward(
            gradient, query, key, value, out, log_sum, 0.0, mask.is_causal, attn_mask=mask.mask
        )
        return gradients
    wide, values = gradient.float(), value.float()
    probabilities = (_scores(query, key, mask) - log_sum.unsqueeze(-1)).exp()
    factors = keep_factors(probabilities, *drop)
    of_value = (probabilities * factors).transpose(-2, -1) @ wide
    of_probabilities = (wide @ values.transpose(-2, -1)) * factors
    of_scores = probabilities * (of_probabilities - (wide * out.float()).sum(dim=-1, keepdim=True))
    of_scores = of_scores / math.sqrt(query.shape[-1])
    return of_scores @ key.float(), of_scores.transpose(-2, -1) @ query.float(), of_value


def _scores(query: Tensor, key: Tensor, mask: AttentionMask) -> Tensor:
    """fp32, -inf where a query does not see a key."""
    scores = (query @ key.transpose(-2, -1)).float() / math.sqrt(query.shape[-1])
    if mask.is_causal:
        length = query.shape[2]
        hidden = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
        return scores.masked_fill(hidden, -torch.inf)
    return scores if mask.mask is None else scores + mask.mask.float()
