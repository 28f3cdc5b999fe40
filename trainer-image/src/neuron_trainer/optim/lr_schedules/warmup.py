"""The frame of NeMo's policies: a common warm-up before a curve, and the floor after its end."""

from collections.abc import Callable

from .terms import Terms

Curve = Callable[[int, Terms], float]
"""From s = 0, 1, …, steps being done, to the rate of the next one."""


def framed(curve: Curve) -> Curve:
    """s <= w: b (s+1)/(w+1) where there is a warm-up; then the curve; s > T: m."""

    def rate(s: int, t: Terms) -> float:
        if t.warmup > 0 and s <= t.warmup:
            return t.base * (s + 1) / (t.warmup + 1)
        return t.floor if s > t.total else curve(s, t)

    rate.__doc__ = curve.__doc__
    return rate
