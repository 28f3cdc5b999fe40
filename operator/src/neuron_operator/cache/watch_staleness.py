"""Whether the watch still brings what happens: kopf may live on and be blind (upstream-facts.md#kopf-watch).

At every resync the listed versions are compared with those that events have brought. An object whose version no event
had brought at one listing, and of which no event has told until the next, was missed: the process ends and a new one
watches anew.
"""

import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")


class WatchStalenessDetector(Generic[K]):
    """What events have brought; kept as long as the object is listed."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic, self._shown = monotonic, monotonic()
        self._seen: dict[K, str] = {}
        self._doubtful: dict[K, str | None] = {}
        """What had been seen of the keys that were behind at the last listing."""

    def saw(self, key: K, version: str) -> None:
        """An event."""
        self._seen[key] = version
        self._shown = self._monotonic()

    def age(self) -> float:
        """Seconds since the watch has shown that it brings what happens."""
        return self._monotonic() - self._shown

    def missed(self, listed: Mapping[K, str]) -> list[K]:
        """Keys that were behind at the last listing, are still, and of which no event has told in between."""
        self._seen = {key: version for key, version in self._seen.items() if key in listed}
        doubtful = {key: self._seen.get(key) for key, version in listed.items() if self._seen.get(key) != version}
        missed = [key for key, seen in doubtful.items() if key in self._doubtful and self._doubtful[key] == seen]
        self._doubtful = doubtful
        if not doubtful:
            self._shown = self._monotonic()
        return missed
