"""The experts' MLPs: tokens are sorted by expert, and each expert computes its own in one go."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from neuron_trainer.models.blocks.dropout import Dropout
from neuron_trainer.models.blocks.mlp import FUNCTIONS

Compute = Callable[[Tensor, Sequence[int]], Tensor]
"""Rows sorted by expert and how many each has, [rows, H] to [rows, H]."""


class Mixed(Protocol):
    """Where tokens that were mixed with those of other processes belong."""

    def back(self, states: Tensor) -> Tensor:
        """[B, S, H] in the order of the mixed ones to that of this process's own."""
        ...


Exchange = Callable[[Tensor, Sequence[int], Compute], Tensor]
"""The same for the experts of all processes, given what computes this one's."""


class Experts(nn.Module):
    """E MLPs without biases as stacked weights: gate and up [E, F, H], down [E, H, F]."""

    def __init__(
        self, experts: int, hidden: int, inner: int, activation: str, *, is_gated: bool, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.gate_proj = nn.Parameter(torch.empty(experts, inner, hidden)) if is_gated else None
        self.up_proj = nn.Parameter(torch.empty(experts, inner, hidden))
        self.down_proj = nn.Parameter(torch.empty(experts, hidden, inner))
        self.dropout = Dropout(dropout)
        self._experts, self._function = experts, FUNCTIONS[activation]
        self.exchange: Exchange | None = None
        """Set by a backend that holds a part of the experts on each process; the weights are then that part."""

    def forward(self, states: Tensor, affinities: Tensor, chosen: Tensor, mixed: Mixed | None = None) -> Tensor:
        """States [B, S, H], affinities fp32 and indices [B, S, top_k], to the weighted sums [B, S, H].

        An index of E stands for no expert: a token that was dropped. Sums are fp32. Mixed tokens go back to their own
        places here, since a backend may cut the output by places.
        """
        experts, tokens = chosen.flatten(), states.flatten(0, 1)
        order = experts.argsort(stable=True)
        counts = experts.bincount(minlength=self._experts + 1)[: self._experts].tolist()
        order = order[: sum(counts)]
        # index_select: its backward pass adds in a fixed order; indexing's does not with several threads.
        token = order.div(chosen.shape[-1], rounding_mode="floor")
        rows = tokens.index_select(0, token)
        computed = self._compute(rows, counts) if self.exchange is None else self.exchange(rows, counts, self._compute)
        weighted = computed * affinities.flatten().index_select(0, order)[:, None]
        total = torch.zeros_like(tokens, dtype=weighted.dtype).index_add(0, token, weighted)
        result = total.to(states.dtype).view(states.shape)
        return result if mixed is None else mixed.back(result)

    def _compute(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """See `Compute`."""
        counts = list(counts)
        parts = torch.split(rows, counts)
        inner = [F.linear(part, weight) for part, weight in zip(parts, _each(self.up_proj), strict=True)]
        if self.gate_proj is None:
            inner = [self._function(up) for up in inner]
        else:
            gates = [F.linear(part, weight) for part, weight in zip(parts, _each(self.gate_proj), strict=True)]
            inner = [self._function(gate) * up for gate, up in zip(gates, inner, strict=True)]
        dropped = torch.split(self.dropout(torch.cat(inner)), counts)
        return torch.cat([F.linear(part, weight) for part, weight in zip(dropped, _each(self.down_proj), strict=True)])


def _each(stacked: Tensor) -> tuple[Tensor, ...]:
    """The experts' own weights; of weights that a backend has split, the part that this process has."""
    # Not asked by class: DTensor's import takes 0.5 s, which the launcher does not need.
    local: Tensor = stacked.to_local() if hasattr(stacked, "to_local") else stacked
    return local.unbind()
