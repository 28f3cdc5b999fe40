"""Tokens per second over the last steps (B-14)."""

import time
from collections import deque
from typing import Final

_WINDOW: Final = 10
"""Steps that are averaged over."""


class Throughput:
    """Of a run whose steps have so many tokens."""

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens
        self._ends: deque[float] = deque(maxlen=_WINDOW + 1)

    def begin(self) -> None:
        """The first step begins now."""
        self._ends.append(time.monotonic())

    def step_done(self) -> float:
        """A step is over; tokens per second since the window's begin."""
        self._ends.append(time.monotonic())
        seconds = self._ends[-1] - self._ends[0]
        return round(self._tokens * (len(self._ends) - 1) / seconds, 3) if seconds else 0.0
