"""The arithmetic of a pair of parts on the CPU: PyTorch's flash attention there gives the log-sum-exp that merging
needs, which `scaled_dot_product_attention` itself does not.

With dropout the probabilities of the pair are in memory, as they are without a ring: the kernel would draw masks that
no other part of the program can draw again.
"""

import torch
from torch import Tensor

from .pair_attention import AttentionMask, DropoutState
from .pair_attention import backward as plain_backward
from .pair_attention import forward as plain_forward

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def forward(
    query: Tensor, key: Tensor, value: Tensor, mask: AttentionMask, drop: DropoutState | None
) -> tuple[Tensor, Tensor]:
    """See `PairKernel`."""
    if drop is not None:
        return plain_forward(query, key, value, mask, drop)
    out, log_sum = _flash(query, key, value, 0.0, mask.is_causal, attn_mask=mask.mask)
    if mask.mask is not None:  # the kernel gives 0 for a query that sees none of these keys
        log_sum = log_sum.masked_fill(mask.mask.isneginf().all(dim=-1), -torch.inf)
    return out.float(), log_sum


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
    if drop is not None:
        return plain_backward(gradient, query, key, value, out, log_sum, mask, drop)
    gradients: tuple[Tensor, Tensor, Tensor] = _flash_backward(
        gradient, query, key, value, out, log_sum, 0.0, mask.is_causal, attn_mask=mask.mask
    )
    return gradients
