"""Causal self-attention with grouped queries; the widths of the weights may be shares of the heads (B-6)."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from .dropout import Dropout
from .rotary import rotate


def window_mask(length: int, window: int, device: torch.device) -> Tensor:
    """Return which keys a query sees, bool [S, S]: query i sees keys i-window+1..i. One tensor for all layers, but in a
    graph, which computes it."""
    return (_window_mask if torch.compiler.is_compiling() else _cached_window_mask)(length, window, device)


def _window_mask(length: int, window: int, device: torch.device) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool, device=device).tril().triu(1 - window)


_cached_window_mask = lru_cache(maxsize=8)(_window_mask)


def document_mask(documents: Tensor | None, window: int | None) -> Tensor | None:
    """Return which keys a query sees where no document may see another, bool [B, 1, S, S]; None: every key before it.

    `documents` int64 [B, S] of whole samples. Made once for all layers: each keeps it for its backward pass.
    """
    if documents is None:
        return None
    length = documents.shape[1]
    in_window = window_mask(length, min(window or length, length), documents.device)
    return (documents[:, None, :, None] == documents[:, None, None, :]) & in_window


class AttentionMaskBuilder(nn.Module):
    """What attention is given of a sample's documents; without weights."""

    def __init__(self, window: int | None) -> None:
        super().__init__()
        self.window = window
        self.is_left_to_kernel = False
        """Set by a parallel backend whose kernel makes masks itself: of the parts that it meets."""

    def forward(self, documents: Tensor | None) -> Tensor | None:
        """The mask for all layers (see `document_mask`), or the documents for a kernel; None: every key before it."""
        return documents if self.is_left_to_kernel else document_mask(documents, self.window)


Kernel = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""Causal attention; shapes of `CoreAttention.forward`, last what `AttentionMaskBuilder` leaves to it: documents of
whole samples."""


class _ContiguousGradient(torch.autograd.Function):
    """The identity, whose gradient lies in memory in the order of its dimensions.

    That of Q K^T by K is a transposed view, and stays one where each query head has its own key head. Rotary positions
    use their input twice, so autograd adds two such gradients in place, which a Neuron device refuses.
    """

    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous()


class CoreAttention(nn.Module):
    """softmax(Q K^T / sqrt(head_dim)) V without weights of its own, causal, over a sliding window where there is one.

    There is no padding mask: padding on the right cannot reach a token before it, and its labels are -100.
    """

    def __init__(self, window: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.window = window
        self.dropout = Dropout(dropout)
        self.kernel: Kernel | None = None
        """What a parallel backend computes it with in place of PyTorch's attention: a ring, or a device's kernel."""
        self.is_written_out = False
        """Set by a parallel backend whose compiler fuses a softmax that it finds among the operators of a graph."""
        self.wants_contiguous = False
        """Set by a parallel backend on a device that needs it (see `_ContiguousGradient`); elsewhere wasted copies."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, heads, S, head_dim] and [B, kv heads, S, head_dim] twice, to [B, heads, S, head_dim].

        `mask`: what `AttentionMaskBuilder` gives, in place of the causal one.
        """
        copies = query.shape[1] // key.shape[1]
        if self.wants_contiguous and copies == 1:
            query, key, value = (_ContiguousGradient.apply(states) for states in (query, key, value))
        return (self.kernel or self.without_kernel)(query, key, value, mask)

    def without_kernel(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Attention by PyTorch's operators, with a window and dropout where there are some."""
        length = query.shape[2]
        window = min(self.window or length, length)
        if mask is None and (window < length or self.dropout.is_active or self.is_written_out):
            mask = window_mask(length, window, query.device)
        return self.attend(query, key, value, mask)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Attention to the keys that a mask shows, bool [..., queries, keys]; None: to those up to a query's own."""
        copies = query.shape[1] // key.shape[1]
        if copies > 1:
            key, value = key.repeat_interleave(copies, dim=1), value.repeat_interleave(copies, dim=1)
        if mask is None:
            return F.scaled_dot_product_attention(query, key, value, is_causal=True)
        if self.dropout.is_active or self.is_written_out:
            return self._written_out(query, key, value, mask)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)

    def _written_out(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """Compute with the probabilities in memory: PyTorch's kernels would drop the same ones on every process."""
        scores = (query @ key.transpose(-2, -1)).float() / math.sqrt(query.shape[-1])
        probabilities = F.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1).to(value.dtype)
        return self.dropout(probabilities) @ value  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Queries, keys and values from linears, rotary positions, core attention, output linear."""

    def __init__(
        self,
        hidden: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        *,
        has_bias: bool = False,
        window: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.q_proj = nn.Linear(hidden, heads * head_dim, bias=has_bias)
        self.k_proj = nn.Linear(hidden, kv_heads * head_dim, bias=has_bias)
        self.v_proj = nn.Linear(hidden, kv_heads * head_dim, bias=has_bias)
        self.o_proj = nn.Linear(heads * head_dim, hidden, bias=has_bias)
        self.core_attention = CoreAttention(window, dropout)

    def forward(self, states: Tensor, cos: Tensor | None, sin: Tensor | None, mask: Tensor | None = None) -> Tensor:
        """[B, S, H] to [B, S, H]; without tables nothing is rotated. The number of heads follows from the width."""
        query, key, value = (self._heads(linear(states)) for linear in (self.q_proj, self.k_proj, self.v_proj))
        if cos is not None and sin is not None:
            query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        mixed = self.core_attention(query, key, value, mask)
        return self.o_proj(mixed.transpose(1, 2).contiguous().flatten(2))  # type: ignore[no-any-return]

    def _heads(self, states: Tensor) -> Tensor:
        heads = states.view(*states.shape[:-1], -1, self.head_dim).transpose(1, 2)
        return heads.contiguous() if self.core_attention.wants_contiguous else heads
