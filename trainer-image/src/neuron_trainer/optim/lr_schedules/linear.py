"""The linear schedule of `transformers`."""

from .terms import Terms


def linear(s: int, t: Terms) -> float:
    """b s/w in the warm-up, 0 in the first step; then straight to 0 at T; min_lr is not used."""
    if s < t.warmup:
        return t.base * s / max(1, t.warmup)
    return t.base * max(0.0, (t.total - s) / max(1, t.total - t.warmup))
