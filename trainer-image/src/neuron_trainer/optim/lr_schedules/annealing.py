"""Curves from the base rate b after the warm-up to the floor m at T."""

import math

from .terms import Terms
from .warmup import framed


def cosine(s: int, t: Terms) -> float:
    """m + (b-m) (1 + cos(pi x))/2; with constant steps x is 1 at T-c already, and the warm-up is another one."""
    return _held_cosine(s, t) if t.constant > 0 else _cosine(s, t)


@framed
def _cosine(s: int, t: Terms) -> float:
    return _wave((s - t.warmup) / (t.total - t.warmup), t)


def _held_cosine(s: int, t: Terms) -> float:
    """s <= w: b s/w; m after D = T-w-c more steps. No room for a decay (D <= 0): m right after the warm-up."""
    if t.warmup > 0 and s <= t.warmup:
        return t.base * s / t.warmup
    length = t.total - t.warmup - t.constant
    if s > t.warmup + length:
        return t.floor
    return _wave((s - t.warmup) / length, t) if length else t.base


def _wave(x: float, t: Terms) -> float:
    return t.floor + (t.base - t.floor) * 0.5 * (1 + math.cos(math.pi * x))


@framed
def square(s: int, t: Terms) -> float:
    """b ((T-s)/(T-w))², not below m."""
    return max(t.floor, t.base * ((t.total - s) / (t.total - t.warmup)) ** 2)


@framed
def square_root(s: int, t: Terms) -> float:
    """b sqrt((T-s)/T), not below m; the length does not begin after the warm-up."""
    return max(t.floor, t.base * math.sqrt((t.total - s) / t.total))


@framed
def straight(s: int, t: Terms) -> float:
    """m + (b-m) (T-s)/(T-w)."""
    return t.floor + (t.base - t.floor) * (t.total - s) / (t.total - t.warmup)


@framed
def polynomial(s: int, t: Terms) -> float:
    """m + (b-m) ((T-s)/(T-w))^power."""
    return float(t.floor + (t.base - t.floor) * ((t.total - s) / (t.total - t.warmup)) ** t.power)


@framed
def inverse_square_root(s: int, t: Terms) -> float:
    """b sqrt((w+1)/(s+1))."""
    return t.base * math.sqrt((t.warmup + 1) / (s + 1))
