"""Which key is due when: the pure part of the work queue. Times are seconds of any one clock, always given."""

import heapq
from collections.abc import Hashable
from itertools import count
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class DueTimes(Generic[K]):
    """A key waits once, at its earliest time; while it is being worked on it is not handed out again."""

    def __init__(self) -> None:
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        """Of keys that nobody works on. An entry whose time is not the key's is stale: an earlier wish came."""
        self._order = count()
        self._busy: set[K] = set()

    def __len__(self) -> int:
        return len(self._due)

    def add(self, key: K, at: float) -> None:
        """Request a pass at a time; an earlier request for the same key stands."""
        if key not in self._due or at < self._due[key]:
            self._due[key] = at
            if key not in self._busy:
                self._push(key)

    def take(self, now: float) -> K | None:
        """A key that is due and not being worked on; it is busy until `done`."""
        at = self.next_time()
        if at is None or at > now:
            return None
        key = heapq.heappop(self._heap)[2]
        del self._due[key]
        self._busy.add(key)
        return key

    def done(self, key: K) -> None:
        """The key may be handed out again."""
        if key in self._busy:
            self._busy.discard(key)
            if key in self._due:
                self._push(key)

    def next_time(self) -> float | None:
        """Return when the next key that nobody works on is due; None: nothing waits."""
        while self._heap:
            at, _, key = self._heap[0]
            if key not in self._busy and self._due.get(key) == at:
                return at
            heapq.heappop(self._heap)
        return None

    def oldest_wait(self, now: float) -> float:
        """Seconds that the longest waiting due key has waited; 0 when none is due."""
        return max((now - at for at in self._due.values()), default=0.0) if self._due else 0.0

    def _push(self, key: K) -> None:
        heapq.heappush(self._heap, (self._due[key], next(self._order), key))
