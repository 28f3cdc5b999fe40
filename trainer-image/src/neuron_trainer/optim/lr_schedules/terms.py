"""What the formulas speak of; the letters are those of B-9."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """Numbers of one schedule; a formula reads those that it needs."""

    base: float
    """b: the base rate."""
    warmup: int = 0
    """w: steps of warm-up."""
    total: int = 1
    """T: the step after which a schedule is at its end."""
    floor: float = 0.0
    """m: min_lr."""
    constant: int = 0
    """c: steps at the floor at the end (cosine)."""
    power: float = 1.0
    width: int = 1
    """d_model (Noam)."""
    step_size: int = 1
    """Epochs of one step of the staircase."""
    gamma: float = 1.0
