"""Queries of one part of a sample on the keys of one part: what the kernels of ring attention take."""

from typing import NamedTuple, Protocol

from torch import Tensor

_STREAM = 15_485_863
"""Between the random streams of the pairs of one process."""


class AttentionMask(NamedTuple):
    """What the queries see of these keys."""

    is_causal: bool
    mask: Tensor | None
    """Added to the scores, [S/CP, S/CP] or [B, 1, S/CP, S/CP], in the dtype of the queries."""


class DropoutState(NamedTuple):
    """Which probabilities are dropped, the same in the backward pass."""

    probability: float
    seed: int | Tensor

    def of_pair(self, distance: int) -> "DropoutState":
        """Masks of its own for the keys of each part."""
        return DropoutState(self.probability, self.seed + _STREAM * distance)


class PairKernel(Protocol):
    """The arithmetic, of [B, heads, S/CP, D] each (arXiv:2205.14135, 3.2). A module is one."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: AttentionMask, drop: DropoutState | None, /
    ) -> tuple[Tensor, Tensor]:
        """Return the attention over these keys alone (fp32) and its log-sum-exp [B, heads, S/CP]."""
        ...

    def backward(
        self,
        gradient: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        out: Tensor,
        log_sum: Tensor,
        mask: AttentionMask,
        drop: DropoutState | None,
        /,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of the three; `out` and `log_sum` are those over all keys of the sample."""
        ...
