"""Router and experts together."""

from torch import Tensor, nn

from neuron_trainer.models.blocks.dropout import Dropout

from . import capacity
from .experts import Experts
from .router import Router
from .settings import MoeSettings


class MoE(nn.Module):
    """sum over the chosen experts of affinity * expert(x)."""

    def __init__(self, hidden: int, inner: int, activation: str, settings: MoeSettings) -> None:
        super().__init__()
        self.gate = Router(hidden, settings)
        self.experts = Experts(
            settings.num_experts, hidden, inner, activation, is_gated=settings.is_gated, dropout=settings.inner_dropout
        )
        self.dropout = Dropout(settings.dropout)
        self._settings = settings

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """[B, S, H] to the same shape, and what the load-balancing loss needs of this layer, fp32 [2, E]."""
        affinities, chosen, shares = self.gate(states)
        mixed = self.experts(states, affinities, self._within_capacity(chosen))
        return self.dropout(mixed), shares

    def _within_capacity(self, chosen: Tensor) -> Tensor:
        """Assignments beyond the capacity of their expert go to none."""
        settings = self._settings
        if settings.capacity_factor is None or settings.capacity_factor * settings.top_k >= settings.num_experts:
            return chosen
        tokens = chosen.shape[0] * chosen.shape[1]
        limit = capacity.of_expert(tokens, settings.top_k, settings.capacity_factor, settings.num_experts)
        return chosen.masked_fill(~capacity.kept(chosen, settings.num_experts, limit), settings.num_experts)
