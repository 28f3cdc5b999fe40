"""Learning rates as pure functions of the number of steps done (B-9); one module for each family of formulas."""

from .annealing import cosine, inverse_square_root, polynomial, square, square_root, straight
from .epochs import exponential, staircase
from .linear import linear
from .noam import noam
from .plateau import constant
from .relative import relative
from .terms import Terms

__all__ = [
    "Terms", "constant", "cosine", "exponential", "inverse_square_root", "linear", "noam", "polynomial", "relative",
    "square", "square_root", "staircase", "straight",
]  # fmt: skip
