"""How fast a run is: tokens per second over the last steps (B-14), and the mean time of what is done several times."""

import time
from collections import deque
from typing import Final

_WINDOW: Final = 10
"""Steps that are averaged over."""


class Throughput:
    """Tokens per second of a run whose steps all have the same number of tokens."""

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens
        self._ends: deque[float] = deque(maxlen=_WINDOW + 1)

    def begin(self) -> None:
        """Mark the beginning of the first step."""
        self._ends.append(time.monotonic())

    def step_done(self) -> float:
        """Mark the end of a step; return tokens per second since the beginning of the window."""
        self._ends.append(time.monotonic())
        seconds = self._ends[-1] - self._ends[0]
        return round(self._tokens * (len(self._ends) - 1) / seconds, 3) if seconds else 0.0


class Stopwatch:
    """The mean duration of an action that is done several times, between `start` and `stop`."""

    def __init__(self) -> None:
        self._started = self._total = 0.0
        self._count = 0

    def start(self) -> None:
        """Mark the beginning of the action."""
        self._started = time.monotonic()

    def stop(self) -> None:
        """Mark the end of the action."""
        self._total += time.monotonic() - self._started
        self._count += 1

    def mean(self) -> float:
        """Return the mean in seconds; 0 before the first end."""
        return self._total / self._count if self._count else 0.0
