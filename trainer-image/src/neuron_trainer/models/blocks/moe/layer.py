"""Router and experts together; which assignments an expert of limited capacity takes."""

from math import ceil
from typing import Protocol

import torch
from torch import Tensor, nn

from neuron_trainer.models.blocks.dropout import Dropout

from .experts import Experts, Mixed
from .router import Router, assigned, of_experts
from .settings import MoeSettings


class Mixer(Protocol):
    """Exchanges tokens with other processes, so that the load of the experts is more even."""

    def mix(self, states: Tensor) -> tuple[Tensor, Mixed]:
        """[B, S, H] to as many tokens of all processes; always the same ones in evaluation."""
        ...


class MoE(nn.Module):
    """sum over the chosen experts of affinity * expert(x)."""

    def __init__(self, hidden: int, inner: int, activation: str, settings: MoeSettings) -> None:
        super().__init__()
        self.shuffle: Mixer | None
        """Set by a backend."""
        self.register_module("shuffle", None)  # the first that takes a seed
        self.gate = Router(hidden, settings)
        self.experts = Experts(
            settings.num_experts, hidden, inner, activation, is_gated=settings.is_gated, dropout=settings.inner_dropout
        )
        self.dropout = Dropout(settings.dropout)
        self._settings = settings

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """[B, S, H] to the same shape, and what the load-balancing loss needs of this layer, fp32 [2, E]."""
        mixed = None
        if self.shuffle is not None:
            states, mixed = self.shuffle.mix(states)
        affinities, chosen, shares = self.gate(states)
        capacity = self._capacity(chosen.shape[0] * chosen.shape[1])
        if capacity is not None:  # assignments beyond it go to none
            experts = self._settings.num_experts
            chosen = torch.where(within_capacity(chosen, experts, capacity), chosen, experts)
        if self.gate.samples is not None:
            affinities, chosen = self.gate.samples.own(affinities), self.gate.samples.own(chosen)
        return self.dropout(self.experts(states, affinities, chosen, mixed, capacity)), shares

    def _capacity(self, tokens: int) -> int | None:
        """Return how many of so many tokens one expert takes; None: all that choose it."""
        settings = self._settings
        if settings.capacity_factor is None or settings.capacity_factor * settings.top_k >= settings.num_experts:
            return None
        return expert_capacity(tokens, settings.top_k, settings.capacity_factor, settings.num_experts)


def expert_capacity(tokens: int, top_k: int, factor: float, experts: int) -> int:
    """Return how many tokens one expert takes: min(T, ceil(T * top_k * factor / E))."""
    return min(tokens, ceil(tokens * top_k * factor / experts))


def within_capacity(chosen: Tensor, experts: int, capacity: int) -> Tensor:
    """Return whether an assignment is within the capacity of its expert, bool [B, S, top_k] from indices of that shape.

    First come, first kept, in the order of positions: all samples' first tokens, then their second ones. So whether a
    token is dropped does not depend on what comes after it.
    """
    batch, length, top_k = chosen.shape
    ordered = chosen.transpose(0, 1).reshape(-1, top_k)
    taken = assigned(ordered, experts).float().sum(dim=1)  # whole numbers below 2^24
    before = taken.cumsum(dim=0) - taken
    within = of_experts(before, ordered) < capacity
    return within.view(length, batch, top_k).transpose(0, 1)
