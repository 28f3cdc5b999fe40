"""Which tokens of a sample a model is given."""

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
