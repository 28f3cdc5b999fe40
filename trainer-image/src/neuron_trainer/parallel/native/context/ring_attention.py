"""Causal attention over a sequence that is cut into contiguous parts, one per process (B-6; arXiv:2310.01889).

Keys and values go round the ring of processes; each process attends with its own queries to what passes by, and
merges the results by their log-sum-exp. A part that comes later in the sequence is passed on unread. In the backward
pass keys, values and their gradients go round once more, so that each gradient arrives complete where its keys are.
With a sliding window they go only as far as a query can see, and in the backward pass straight home.

`pair_attention` is the arithmetic of one pair of parts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import P2POp, ProcessGroup

from neuron_trainer.models.blocks.dropout import Dropout

from . import pair_attention
from .pair_attention import AttentionMask, DropoutState


@dataclass(frozen=True, slots=True)
class _Setting:
    """What is the same for all parts."""

    group: ProcessGroup
    window: int | None
    documents: Tensor | None
    drop: DropoutState | None


def ring_attention(
    query: Tensor, key: Tensor, value: Tensor, documents: Tensor | None = None, *, group: ProcessGroup,
    window: int | None = None, dropout: Dropout | None = None,
) -> Tensor:  # fmt: skip
    """softmax(Q K^T / sqrt(D)) V with a causal mask over the whole sequence; a query sees `window` keys with its own.

    `query` [B, heads, S/CP, D], `key` and `value` [B, kv heads, S/CP, D] (kv heads divide heads), this process's part
    by its rank in `group`; returns [B, heads, S/CP, D] in the query's dtype. A collective over `group`, backward too.
    `documents`: see `neuron_trainer.models.interface`.
    """
    seed = dropout.seed() if dropout is not None else None
    drop = DropoutState(dropout.probability, seed) if dropout is not None and seed is not None else None
    result: Tensor = _Ring.apply(query, key, value, _Setting(group, window, documents, drop))
    return result


class _Ring(torch.autograd.Function):
    """The two rounds."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, setting: _Setting) -> Tensor:
        out, log_sum = torch.zeros_like(query, dtype=torch.float32), None
        for distance, (keys, values) in _passing([key, value], setting.group, setting.window):
            mask = _mask(distance, query, setting)
            if mask is None:
                continue
            copies = query.shape[1] // key.shape[1]
            wide = _widen(keys, copies), _widen(values, copies)
            drop = setting.drop and setting.drop.of_pair(distance)
            part, part_sum = pair_attention.forward(query, *wide, mask, drop)
            out, log_sum = _merge(out, log_sum, part, part_sum)
        assert log_sum is not None, "a process always sees its own part"
        result = out.to(query.dtype)
        ctx.save_for_backward(query, key, value, result, log_sum)
        ctx.setting = setting
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, out, log_sum = ctx.saved_tensors
        setting, copies = ctx.setting, query.shape[1] // key.shape[1]
        group, window = setting.group, setting.window
        of_query = torch.zeros_like(query, dtype=torch.float32)
        # The gradients travel with the keys they belong to; after the last part they go home.
        travelling = [torch.zeros(tensor.shape, dtype=torch.float32, device=tensor.device) for tensor in (key, value)]
        for step, (distance, (keys, values)) in enumerate(_passing([key, value], group, window)):
            travelling = _exchange(travelling, group) if step else travelling
            mask = _mask(distance, query, setting)
            if mask is None:
                continue
            wide = _widen(keys, copies), _widen(values, copies)
            drop = setting.drop and setting.drop.of_pair(distance)
            parts = pair_attention.backward(gradient, query, *wide, out, log_sum, mask, drop)
            of_query += parts[0]
            travelling = [tensor + _narrow(part, copies) for tensor, part in zip(travelling, parts[1:], strict=True)]
        travelling = _exchange(travelling, group, hops=1 - _parts(query, group, window))
        of_key, of_value = travelling
        return of_query.to(query.dtype), of_key.to(key.dtype), of_value.to(value.dtype), None


def _mask(distance: int, query: Tensor, setting: _Setting) -> AttentionMask | None:
    """None: nothing. `distance`: in parts, from the keys' to the queries', negative for keys that come later."""
    length, window = query.shape[2], setting.window
    if distance < 0 or (window is not None and distance * length - length + 1 >= window):
        return None
    if setting.documents is None and (window is None or (distance + 1) * length <= window):
        return AttentionMask(is_causal=distance == 0, mask=None)
    places = torch.arange(length, device=query.device)
    ages = distance * length + places[:, None] - places
    hidden = ages < 0 if window is None else (ages < 0) | (ages >= window)
    if setting.documents is not None:
        parts = torch.split(setting.documents, length, dim=1)
        own = setting.group.rank()
        hidden = hidden | (parts[own][:, None, :, None] != parts[own - distance][:, None, None, :])
    mask = torch.zeros_like(hidden, dtype=query.dtype)
    return AttentionMask(is_causal=False, mask=mask.masked_fill_(hidden, -torch.inf))


def _parts(query: Tensor, group: ProcessGroup, window: int | None) -> int:
    """Return how many parts some query sees something of, its own included."""
    return group.size() if window is None else min(group.size(), 1 + ceil((window - 1) / query.shape[2]))


def _passing(own: list[Tensor], group: ProcessGroup, window: int | None) -> Iterator[tuple[int, list[Tensor]]]:
    """This process's tensors and then, as they come round, those of the ranks before it: (distance, tensors)."""
    size, rank = group.size(), group.rank()
    own = [tensor.contiguous() for tensor in own]
    for step in range(_parts(own[0], group, window)):
        own = _exchange(own, group) if step else own
        yield rank - (rank - step) % size, own


def _exchange(tensors: list[Tensor], group: ProcessGroup, hops: int = 1) -> list[Tensor]:
    """Hand them to the process so many places on and take those of the one as many before."""
    size, rank = group.size(), group.rank()
    if hops % size == 0:
        return tensors
    received = [torch.empty_like(tensor) for tensor in tensors]
    operations = [P2POp(dist.isend, tensor, group=group, group_peer=(rank + hops) % size) for tensor in tensors]
    operations += [P2POp(dist.irecv, tensor, group=group, group_peer=(rank - hops) % size) for tensor in received]
    for request in dist.batch_isend_irecv(operations):
        request.wait()
    return received


def _merge(out: Tensor, log_sum: Tensor | None, part: Tensor, part_sum: Tensor) -> tuple[Tensor, Tensor]:
    """Two softmaxes over disjoint keys as one: weights exp(lse_i - lse), lse = log(exp(lse_1) + exp(lse_2))."""
    if log_sum is None:
        return part, part_sum
    total = torch.logaddexp(log_sum, part_sum)
    before, after = (torch.exp(log_sum_of_part - total).unsqueeze(-1) for log_sum_of_part in (log_sum, part_sum))
    return out * before + part * after, total


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
