"""Mean seconds of what is done several times."""

import time


class Stopwatch:
    """`start` and `stop` around each time."""

    def __init__(self) -> None:
        self._begun = self._total = 0.0
        self._count = 0

    def start(self) -> None:
        """It begins."""
        self._begun = time.monotonic()

    def stop(self) -> None:
        """It has ended."""
        self._total += time.monotonic() - self._begun
        self._count += 1

    def mean(self) -> float:
        """Of those that have ended; 0 where none has."""
        return self._total / self._count if self._count else 0.0
