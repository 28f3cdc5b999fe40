"""Which key is due when: the pure part of the work queue. Times are seconds of any one clock, always given."""

import heapq
from collections.abc import Hashable
from itertools import count
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Schedule(Generic[K]):
    """A key waits once, at its earliest time; while it is being worked on it is not handed out again."""

    def __init__(self) -> None:
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = count()
        self._busy: set[K] = set()

    def __len__(self) -> int:
        return len(self._due)

    def add(self, key: K, at: float) -> None:
        """Want a pass at a time; an earlier wish for the same key stands."""
        if key not in self._due or at < self._due[key]:
            self._due[key] = at
            heapq.heappush(self._heap, (at, next(self._order), key))

    def take(self, now: float) -> K | None:
        """A key that is due and not being worked on; it is busy until `done`."""
        postponed = []
        found = None
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)
            at, _, key = entry
            if self._due.get(key) != at:
                continue  # overtaken by an earlier wish
            if key in self._busy:
                postponed.append(entry)
                continue
            del self._due[key]
            self._busy.add(key)
            found = key
            break
        for entry in postponed:
            heapq.heappush(self._heap, entry)
        return found

    def done(self, key: K) -> None:
        """The key may be handed out again."""
        self._busy.discard(key)

    def next_time(self) -> float | None:
        """When the next key that nobody works on is due; None: nothing waits."""
        return min((at for key, at in self._due.items() if key not in self._busy), default=None)

    def oldest_wait(self, now: float) -> float:
        """Seconds that the longest waiting due key has waited; 0 when none is due."""
        return max((now - at for at in self._due.values()), default=0.0) if self._due else 0.0
