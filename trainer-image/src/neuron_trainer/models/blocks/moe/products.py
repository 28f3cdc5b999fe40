"""The linears of all experts together: what arranges rows by expert, and multiplies each with its expert's weights."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from .slots import Slots


@dataclass(frozen=True, slots=True)
class Rows:
    """Assignments of tokens to experts."""

    experts: Tensor
    """int64 [R]; `count` for a row that goes to none."""
    count: int
    """Of experts."""
    limit: int
    """Most rows that one expert has."""
    is_exact: bool
    """Whether every row has an expert."""


class Arrangement(Protocol):
    """Rows in slots, by expert."""

    @property
    def slots(self) -> Slots:
        """Return where rows are."""
        ...

    def linear(self, values: Tensor, weights: Tensor) -> Tensor:
        """x W^T: [S, in] and the experts' weights [E, out, in] to [S, out]; anything finite in an empty slot."""
        ...


class Product(Protocol):
    """A way to compute."""

    def __call__(self, rows: Rows) -> Arrangement:
        """Arrange rows."""
        ...
