"""Learning rates as pure functions of the number of steps done (B-9)."""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """Numbers of one schedule; a formula reads those that it needs. The letters are those of B-9."""

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


Curve = Callable[[int, Terms], float]
"""From s = 0, 1, …, steps being done, to the rate of the next one."""


def framed(curve: Curve) -> Curve:
    """Add the frame of NeMo's policies. s <= w: b (s+1)/(w+1) where there is a warm-up; then the curve; s > T: m."""

    def rate(s: int, t: Terms) -> float:
        if t.warmup > 0 and s <= t.warmup:
            return t.base * (s + 1) / (t.warmup + 1)
        return t.floor if s > t.total else curve(s, t)

    rate.__doc__ = curve.__doc__
    return rate


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


@framed
def constant(_: int, t: Terms) -> float:
    """b. WarmupPolicy, and WarmupHoldPolicy: it stays at b after its hold, whose length so changes nothing."""
    return t.base


def linear(s: int, t: Terms) -> float:
    """Return the rate as `transformers` computes it: b s/w in the warm-up, 0 in the first step; then straight to 0 at
    T; min_lr is not used."""
    if s < t.warmup:
        return t.base * s / max(1, t.warmup)
    return t.base * max(0.0, (t.total - s) / max(1, t.total - t.warmup))


def noam(s: int, t: Terms) -> float:
    """b d^-0.5 min(s^-0.5, s w^-1.5) with s >= 1; not below m after the warm-up; no end (arXiv:1706.03762, 5.3)."""
    s = max(1, s)
    rising = s * t.warmup**-1.5 if t.warmup else float("inf")
    rate = float(t.base * t.width**-0.5 * min(s**-0.5, rising))
    return max(rate, t.floor) if s > t.warmup else rate


def staircase(s: int, t: Terms) -> float:
    """torch's StepLR, s in epochs or steps: b gamma^(s // step_size)."""
    return float(t.base * t.gamma ** (s // t.step_size))


def exponential(s: int, t: Terms) -> float:
    """torch's ExponentialLR, s in epochs or steps: b gamma^s."""
    return float(t.base * t.gamma**s)


def relative(s: int, min_step: float, *, warmup_init: bool) -> float:
    """adafactor's `relative_step` (arXiv:1804.04235, section 8), with t = s + 1: min(min_step, t^-0.5).

    With `warmup_init` min(1e-6 t, t^-0.5).
    """
    t = s + 1
    return float(min(1e-6 * t if warmup_init else min_step, t**-0.5))
