"""Causal attention over a sequence that is cut into contiguous parts, one per process (B-6; arXiv:2310.01889).

Each process attends with its own queries to its own keys and values and to those of the processes before it, and
merges the results by their log-sum-exp. A part that comes later in the sequence is passed over.
With a sliding window only the parts that some query can see are met.

`exchange` is how parts come and gradients go; `pair` what is computed of one pair of parts.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch import Tensor

from neuron_trainer.models.blocks.dropout import Dropout

from .exchange import Exchange
from .pair_attention import AttentionMask, DropoutState, PairKernel


@dataclass(frozen=True, slots=True)
class _Setting:
    """What is the same for all parts."""

    exchange: Exchange
    kernel: PairKernel
    window: int | None
    drop: DropoutState | None

    def of_pair(self, distance: int) -> DropoutState | None:
        return self.drop and self.drop.of_pair(distance)


def ring_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    documents: Tensor | None = None,
    *,
    exchange: Exchange,
    kernel: PairKernel,
    window: int | None = None,
    dropout: Dropout | None = None,
) -> Tensor:
    """softmax(Q K^T / sqrt(D)) V with a causal mask over the whole sequence; a query sees `window` keys with its own.

    `query` [B, heads, S/CP, D], `key` and `value` [B, kv heads, S/CP, D] (kv heads divide heads), this process's part
    by its rank in the exchange's group; returns [B, heads, S/CP, D] in the query's dtype. A collective, backward too.
    `documents`: see `neuron_trainer.models.spec`.
    """
    seed = dropout.seed() if dropout is not None else None
    drop = DropoutState(dropout.probability, seed) if dropout is not None and seed is not None else None
    result: Tensor = _Ring.apply(query, key, value, documents, _Setting(exchange, kernel, window, drop))
    return result


class _Ring(torch.autograd.Function):
    """The two rounds."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, documents: Tensor | None, setting: _Setting
    ) -> Tensor:
        copies = query.shape[1] // key.shape[1]
        total: tuple[Tensor, Tensor] | None = None
        for distance, (keys, values) in setting.exchange.parts([key, value], _parts(query, setting)):
            if (mask := _mask(distance, query, documents, setting)) is None:
                continue
            wide = _widen(keys, copies), _widen(values, copies)
            part = setting.kernel.forward(query, *wide, mask, setting.of_pair(distance))
            total = part if total is None else _merge(total, part)
        assert total is not None, "a process always sees its own part"
        out, log_sum = total
        result = out.to(query.dtype)
        ctx.save_for_backward(query, key, value, documents, result, log_sum)
        ctx.setting = setting
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, documents, out, log_sum = ctx.saved_tensors
        setting, copies = ctx.setting, query.shape[1] // key.shape[1]
        of_query = torch.zeros(query.shape, dtype=torch.float32, device=query.device)

        def of_part(distance: int, tensors: Any) -> list[Tensor] | None:
            nonlocal of_query
            if (mask := _mask(distance, query, documents, setting)) is None:
                return None
            wide = [_widen(tensor, copies) for tensor in tensors]
            drop = setting.of_pair(distance)
            own, *parts = setting.kernel.backward(gradient, query, *wide, out, log_sum, mask, drop)
            of_query = of_query + own
            return [_narrow(part, copies) for part in parts]

        of_key, of_value = setting.exchange.gradients([key, value], _parts(query, setting), of_part)
        return of_query.to(query.dtype), of_key.to(key.dtype), of_value.to(value.dtype), None, None


def _mask(distance: int, query: Tensor, documents: Tensor | None, setting: _Setting) -> AttentionMask | None:
    """None: nothing. `distance`: in parts, from the keys' to the queries', negative for keys that come later."""
    length, window = query.shape[2], setting.window
    if distance < 0 or (window is not None and distance * length - length + 1 >= window):
        return None
    if documents is None and (window is None or (distance + 1) * length <= window):
        return AttentionMask(is_causal=distance == 0, mask=None)
    places = torch.arange(length, dtype=torch.int32, device=query.device)
    ages = distance * length + places[:, None] - places
    hidden = ages < 0 if window is None else (ages < 0) | (ages >= window)
    if documents is not None:
        parts = torch.split(documents, length, dim=1)
        own = setting.exchange.group.rank()
        hidden = hidden | (parts[own][:, None, :, None] != parts[own - distance][:, None, None, :])
    mask = torch.zeros_like(hidden, dtype=query.dtype)
    return AttentionMask(is_causal=False, mask=mask.masked_fill(hidden, -torch.inf))


def _parts(query: Tensor, setting: _Setting) -> int:
    """Return how many parts some query sees something of, its own included."""
    size, window = setting.exchange.group.size(), setting.window
    return size if window is None else min(size, 1 + ceil((window - 1) / query.shape[2]))


def _merge(total: tuple[Tensor, Tensor], part: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Two softmaxes over disjoint keys as one: weights exp(lse_i - lse), lse = log(exp(lse_1) + exp(lse_2))."""
    (out, log_sum), (part_out, part_sum) = total, part
    of_both = torch.logaddexp(log_sum, part_sum)
    before, after = (torch.exp(log_sum_of_part - of_both).unsqueeze(-1) for log_sum_of_part in (log_sum, part_sum))
    return out * before + part_out * after, of_both


def _widen(states: Tensor, copies: int) -> Tensor:
    """[B, kv heads, S, D] repeated to the query heads."""
    return states.repeat_interleave(copies, dim=1) if copies > 1 else states


def _narrow(gradient: Tensor, copies: int) -> Tensor:
    """The gradient of `_widen`, summed in fp32."""
    return (
        gradient.float().view(gradient.shape[0], -1, copies, *gradient.shape[2:]).sum(2)
        if copies > 1
        else gradient.float()
    )
