"""The experts' MLPs: tokens are sorted by expert, and each expert computes its own in one go."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from neuron_trainer.models.blocks.dropout import Dropout
from neuron_trainer.models.blocks.mlp import FUNCTIONS


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

    def forward(self, states: Tensor, affinities: Tensor, chosen: Tensor) -> Tensor:
        """States [B, S, H], affinities fp32 and indices [B, S, top_k], to the weighted sums [B, S, H].

        An index of E stands for no expert: a token that was dropped. Sums are fp32.
        """
        experts, tokens = chosen.flatten(), states.flatten(0, 1)
        order = experts.argsort(stable=True)
        counts = experts.bincount(minlength=self._experts + 1)[: self._experts].tolist()
        order = order[: sum(counts)]
        # index_select: its backward pass adds in a fixed order; indexing's does not with several threads.
        token = order.div(chosen.shape[-1], rounding_mode="floor")
        computed = self._compute(tokens.index_select(0, token), counts)
        weighted = computed * affinities.flatten().index_select(0, order)[:, None]
        total = torch.zeros_like(tokens, dtype=weighted.dtype).index_add(0, token, weighted)
        return total.to(states.dtype).view(states.shape)

    def _compute(self, rows: Tensor, counts: list[int]) -> Tensor:
        """Rows sorted by expert, [rows, H] to [rows, H]."""
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
    local = stacked.to_local() if isinstance(stacked, DTensor) else stacked
    return local.unbind()
