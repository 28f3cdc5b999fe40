"""The feed-forward part of a layer, with a gate (SwiGLU and its kin, arXiv:2002.05202) or without."""

from collections.abc import Callable, Mapping
from typing import Final

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from .dropout import Dropout

GATED: Final = ("swiglu", "geglu", "reglu")
"""Values of `model.activation` that multiply activation(gate) with a second projection."""

FUNCTIONS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "swiglu": F.silu,
    "silu": F.silu,
    "geglu": F.gelu,
    "gelu": F.gelu,
    "reglu": F.relu,
}
"""`model.activation` to the function of one argument; gelu is the exact one."""


class ActivationMultiplyMLP(nn.Module):
    """activation(gate) * up, without weights: the part of the MLP that is cheap to compute again."""

    def __init__(self, activation: str) -> None:
        super().__init__()
        self._function = FUNCTIONS[activation]

    def forward(self, gate: Tensor, up: Tensor) -> Tensor:
        """Two [..., F] to one."""
        return self._function(gate) * up


class MLP(nn.Module):
    """down(activation(gate x) * up x), or down(activation(up x)) without gate."""

    def __init__(
        self, hidden: int, inner: int, activation: str = "swiglu", *, has_bias: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden, inner, bias=has_bias) if activation in GATED else None
        self.up_proj = nn.Linear(hidden, inner, bias=has_bias)
        self.down_proj = nn.Linear(inner, hidden, bias=has_bias)
        self.activation = ActivationMultiplyMLP(activation) if activation in GATED else None
        self.dropout = Dropout(dropout)
        self._function = FUNCTIONS[activation]

    def forward(self, states: Tensor) -> Tensor:
        """[..., H] to [..., H]."""
        up = self.up_proj(states)
        if self.gate_proj is not None and self.activation is not None:
            inner = self.activation(self.gate_proj(states), up)
        else:
            inner = self._function(up)
        return self.down_proj(self.dropout(inner))  # type: ignore[no-any-return]
