"""The schedule of "Attention is all you need" (arXiv:1706.03762, section 5.3)."""

from .terms import Terms


def noam(s: int, t: Terms) -> float:
    """b d^-0.5 min(s^-0.5, s w^-1.5) with s >= 1; not below m after the warm-up; no end."""
    s = max(1, s)
    rising = s * t.warmup**-1.5 if t.warmup else float("inf")
    rate = float(t.base * t.width**-0.5 * min(s**-0.5, rising))
    return max(rate, t.floor) if s > t.warmup else rate
