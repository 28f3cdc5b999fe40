"""What a step takes a process by itself: its own work, and its wait for the batch, without what it waits for others.

A slow process makes all others wait, so a step takes the same time everywhere. What differs is this.
"""

import time
from collections.abc import Callable
from typing import Final

_MICROSECONDS: Final = 1_000_000


class StepMeter:
    """The meter of one process. `waited`: seconds that it has waited for others, ever (`parallel.hosts`)."""

    def __init__(self, waited: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._waited, self._clock = waited, clock
        self._begun, self._waited_before = 0.0, 0.0
        self._data = 0.0
        self.measured = (0, 0, 0)
        """Of the newest step in microseconds: own work, wait for the batch, wait for others. Zeros before the first."""

    def add_data(self, seconds: float) -> None:
        """The batch of the next step was waited for."""
        self._data += seconds

    def begin(self) -> None:
        """The step begins."""
        self._begun, self._waited_before = self._clock(), self._waited()

    def end(self) -> None:
        """The step has ended; what follows, such as a report, is no work that the others have, too."""
        waited = self._waited() - self._waited_before
        own = max(0.0, self._clock() - self._begun - waited)
        data, self._data = self._data, 0.0
        work, data, waited = (int(seconds * _MICROSECONDS) for seconds in (own, data, waited))
        self.measured = max(1, work), data, waited
