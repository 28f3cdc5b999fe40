"""torch's schedules by epochs: here s counts epochs (or steps, with `interval: step`)."""

from .terms import Terms


def staircase(s: int, t: Terms) -> float:
    """StepLR: b gamma^(s // step_size)."""
    return float(t.base * t.gamma ** (s // t.step_size))


def exponential(s: int, t: Terms) -> float:
    """ExponentialLR: b gamma^s."""
    return float(t.base * t.gamma**s)
