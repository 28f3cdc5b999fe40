"""The experts' MLPs. A token is a row for each of its experts; rows are computed by expert, weighted and summed.

No shape depends on the routing, whatever computes: see `products`.
"""

from collections.abc import Callable
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from neuron_trainer.models.blocks.dropout import Dropout
from neuron_trainer.models.blocks.mlp import FUNCTIONS

from .grouped import grouped
from .products import Product, Rows

WIDTH: Final = {"gate_proj": 1, "up_proj": 1, "down_proj": 2}
"""Dimension of the stacked weights [E, out, in] that is the width of the experts."""
HIDDEN: Final = {name: 3 - dim for name, dim in WIDTH.items()}
"""The other one, of the model's width."""

Compute = Callable[[Tensor, Rows], Tensor]
"""Tokens [T, H] and their R rows to what the experts give for each row, [R, H]; 0 where a row goes to none."""


class Mixed(Protocol):
    """Where tokens that were mixed with those of other processes belong."""

    def back(self, states: Tensor) -> Tensor:
        """[B, S, H] in the order of the mixed ones to that of this process's own."""
        ...


Exchange = Callable[[Tensor, Rows, Compute], Tensor]
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
        self.product: Product = grouped
        """Set by a backend whose device computes otherwise."""
        self.exchange: Exchange | None = None
        """Set by a backend that holds a part of the experts on each process; the weights are then that part."""
        self.is_split = False
        """Set by a backend that has split the stacked weights: they are DTensors then."""

    def forward(
        self,
        states: Tensor,
        affinities: Tensor,
        chosen: Tensor,
        mixed: Mixed | None = None,
        capacity: int | None = None,
    ) -> Tensor:
        """States [B, S, H], affinities fp32 and indices [B, S, top_k], to the weighted sums [B, S, H].

        An index of E stands for no expert: a token that was dropped, of which there is none without a `capacity`. Sums
        are fp32. Mixed tokens go back to their own places here, since a backend may cut the output by places.
        """
        tokens = states.flatten(0, 1)
        limit = len(tokens) if capacity is None else min(capacity, len(tokens))
        rows = Rows(chosen.flatten(), self._experts, limit, is_exact=capacity is None)
        computed = self._compute(tokens, rows) if self.exchange is None else self.exchange(tokens, rows, self._compute)
        weighted = computed.view(*chosen.shape, -1) * affinities.unsqueeze(-1)
        result = (weighted.sum(dim=2) if chosen.shape[2] > 1 else weighted.squeeze(2)).to(states.dtype)
        return result if mixed is None else mixed.back(result)

    def _compute(self, tokens: Tensor, rows: Rows) -> Tensor:
        """See `Compute`."""
        arranged = self.product(rows)
        values = arranged.slots.spread(tokens)
        inner = arranged.linear(values, self._local(self.up_proj))
        if self.gate_proj is None:
            inner = self._function(inner)
        else:
            inner = self._function(arranged.linear(values, self._local(self.gate_proj))) * inner
        return arranged.slots.collect(arranged.linear(self.dropout(inner), self._local(self.down_proj)))

    def _local(self, stacked: Tensor) -> Tensor:
        """Return the weights that this process has of a stack."""
        local: Tensor = stacked.to_local() if self.is_split else stacked  # type: ignore[attr-defined]
        return local
