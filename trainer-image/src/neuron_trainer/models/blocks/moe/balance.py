"""The load-balancing loss (Switch Transformer, arXiv:2101.03961, equations 4 to 6, for several experts of a token).

`(E / top_k) * sum_i f_i P_i` with f_i = assignments to expert i / tokens and P_i = mean router probability of i, both
over the tokens of all layers together: 1 when the load is even, whatever E and top_k. `transformers` leaves out
`/ top_k`, so its Mixtral loss is `top_k` times this one; neuronx-distributed, whose coefficients the configurations
have, divides.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def assigned(chosen: Tensor, experts: int) -> Tensor:
    """Return whether an index is an expert's, bool [..., E]; `one_hot` without a look at the largest index."""
    return chosen.unsqueeze(-1) == torch.arange(experts, device=chosen.device)


def shares(logits: Tensor, chosen: Tensor) -> Tensor:
    """f and P of one layer, fp32 [2, E], from router logits [..., E] and the experts chosen [..., top_k]."""
    probabilities = logits.softmax(dim=-1).flatten(0, -2)
    tokens, experts = probabilities.shape
    load = assigned(chosen.flatten(), experts).sum(dim=0) / tokens
    return torch.stack((load.float(), probabilities.mean(dim=0)))


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
