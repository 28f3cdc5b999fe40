"""Rates that stay where the warm-up left them."""

from .terms import Terms
from .warmup import framed


@framed
def constant(_: int, t: Terms) -> float:
    """b. WarmupPolicy, and WarmupHoldPolicy: it stays at b after its hold, whose length so changes nothing."""
    return t.base
