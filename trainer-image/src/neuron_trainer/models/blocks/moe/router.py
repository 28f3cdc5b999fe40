"""Which experts a token goes to, and with what weight; computed in fp32.

The load-balancing loss (Switch Transformer, arXiv:2101.03961, equations 4 to 6, for several experts of a token).

`(E / top_k) * sum_i f_i P_i` with f_i = assignments to expert i / tokens and P_i = mean router probability of i, both
over the tokens of all layers together: 1 when the load is even, whatever E and top_k. `transformers` leaves out
`/ top_k`, so its Mixtral loss is `top_k` times this one; neuronx-distributed, whose coefficients the configurations
have, divides.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from .settings import MoeSettings


def assigned(chosen: Tensor, experts: int) -> Tensor:
    """Return whether an index is an expert's, bool [..., E]; `one_hot` without a look at the largest index."""
    return chosen.unsqueeze(-1) == torch.arange(experts, device=chosen.device)


def of_experts(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the values of the experts chosen [..., top_k], of those of all [..., E]: as `gather` does, by comparison,
    since a NeuronCore is known to gather zeros. A sum of one number and zeros is that number."""
    is_chosen = assigned(chosen, values.shape[-1])
    return torch.where(is_chosen, values.unsqueeze(-2), 0.0).sum(dim=-1)


def shares(logits: Tensor, chosen: Tensor) -> Tensor:
    """f and P of one layer, fp32 [2, E], from router logits [..., E] and the experts chosen [..., top_k]."""
    probabilities = logits.softmax(dim=-1).flatten(0, -2)
    tokens, experts = probabilities.shape
    load = assigned(chosen.flatten(), experts).float().sum(dim=0) / tokens
    return torch.stack((load, probabilities.mean(dim=0)))


def load_balancing_loss(of_layers: Sequence[Tensor], top_k: int) -> Tensor:
    """Scalar fp32 from the `shares` of each layer with experts; layers have equally many tokens."""
    load, probability = torch.stack(tuple(of_layers)).mean(dim=0)
    return torch.dot(load, probability) * (len(load) / top_k)


class LoadBalancing(nn.Module):
    """The loss with its weight, from the sum over layers: a part of a model hands on the sum over its own."""

    def __init__(self, coefficient: float, top_k: int, layers: int) -> None:
        """`layers`: how many have experts."""
        super().__init__()
        self._coefficient, self._top_k, self._layers = coefficient, top_k, layers

    def forward(self, total: Tensor) -> Tensor:
        """fp32 [2, E], the sum of all layers' `shares`, to a scalar."""
        return self._coefficient * load_balancing_loss([total / self._layers], self._top_k)


def nothing_yet(experts: int, device: torch.device) -> Tensor:
    """The sum of `shares` before the first layer with experts."""
    return torch.zeros(2, experts, device=device)


class Routing(NamedTuple):
    """Of T = B x S tokens."""

    affinities: Tensor
    """Weight of each chosen expert in a token's output, fp32 [B, S, top_k]."""
    chosen: Tensor
    """Indices of the experts, int64 [B, S, top_k]."""
    balance: Tensor
    """Load and mean probability of each expert, fp32 [2, E]: see `balance`."""


class Samples(Protocol):
    """Whole samples where a process has a part of each: loads, capacities and balance are those of all their tokens."""

    def gather(self, logits: Tensor) -> Tensor:
        """[B, S, E] of the part to that of the whole, on every process."""
        ...

    def own(self, of_whole: Tensor) -> Tensor:
        """The part [B, S, ...] of the whole."""
        ...


class Router(nn.Module):
    """logits = x W^T; scores = softmax or sigmoid of them; the `top_k` best, or one by a balanced assignment."""

    def __init__(self, hidden: int, settings: MoeSettings) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(settings.num_experts, hidden))
        self.samples: Samples | None = None
        """Set by a backend that splits samples over processes."""
        self._settings = settings

    def forward(self, states: Tensor) -> Routing:
        """[B, S, H] to the routing of each token of the whole samples."""
        settings = self._settings
        logits = F.linear(states.float(), self.weight.float())
        if self.samples is not None:
            logits = self.samples.gather(logits)
        scores = logits.sigmoid() if settings.router_activation == "sigmoid" else logits.softmax(dim=-1)
        chosen = self._choose(logits.detach(), scores.detach())
        affinities = of_experts(scores, chosen)
        if settings.normalize_top_k_affinities:
            affinities = affinities / affinities.sum(dim=-1, keepdim=True)
        return Routing(affinities, chosen, shares(logits, chosen))

    def _choose(self, logits: Tensor, scores: Tensor) -> Tensor:
        """Sinkhorn's assignment looks at all tokens at once; in evaluation each token is on its own."""
        settings = self._settings
        if settings.routing_algorithm == "sinkhorn" and self.training:
            plan = sinkhorn(logits.flatten(0, -2), settings.sinkhorn_iterations, settings.sinkhorn_tol)
            return plan.argmax(dim=-1).view(*logits.shape[:-1], 1)
        return scores.topk(settings.top_k, dim=-1).indices


def sinkhorn(logits: Tensor, iterations: int, tolerance: float | None) -> Tensor:
    """exp(logits) with rows and columns scaled so that each token and each expert has an equal share; [T, E] to [T, E].

    Sinkhorn and Knopp, Pacific J. Math. 21 (1967). Ends after `iterations`, or when the columns' factors change by less
    than the tolerance on average: from then on they stay, and nobody has to ask whether it is so.
    """
    tokens, experts = logits.shape
    mass = (logits - logits.amax(dim=1, keepdim=True)).exp()  # a factor of a row changes nothing, but cannot overflow
    smallest = torch.finfo(mass.dtype).tiny
    rows, columns = mass.new_ones(tokens), mass.new_ones(experts)
    is_over = torch.zeros((), dtype=torch.bool, device=mass.device)
    for _ in range(iterations):
        next_rows = 1.0 / (tokens * (mass @ columns)).clamp(min=smallest)
        next_columns = 1.0 / (experts * (next_rows @ mass)).clamp(min=smallest)
        if tolerance is None:
            rows, columns = next_rows, next_columns
            continue
        change = (next_columns - columns).abs().mean()
        rows, columns = torch.where(is_over, rows, next_rows), torch.where(is_over, columns, next_columns)
        is_over = is_over | (change < tolerance)
    return rows[:, None] * mass * columns
