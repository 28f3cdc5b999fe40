"""Which tokens of a sample a model is given.

Where a sample has several documents a model is also given, if they matter: `positions`, int64 [B, part.length], of its
tokens, in place of those that follow from the part; `documents`, int64 [B, total], a number for each token of the whole
sample, different where tokens must not see each other.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive tokens of a sample: all of them, or a context-parallel share."""

    start: int
    """Position of the first one."""
    length: int
    total: int
    """Tokens of the whole sample."""

    @classmethod
    def whole(cls, length: int) -> "Part":
        """Every token."""
        return cls(0, length, length)
