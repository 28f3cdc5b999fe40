"""Whether the watch still brings what happens: kopf may live on and be blind (upstream-facts.md#kopf-watch).

At every resync the listed versions are compared with those that events have brought. An object whose version no event
had brought at one listing, and of which no event has told until the next, was missed: the process ends and a new one
watches again.
"""

import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")


class WatchStalenessDetector(Generic[K]):
    """What events have brought; kept as long as the object is listed."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic, self._confirmed_at = monotonic, monotonic()
        self._versions: dict[K, str] = {}
        self._behind: dict[K, str | None] = {}
        """What had been seen of the keys that were behind at the last listing."""

    def observe_event(self, key: K, version: str) -> None:
        """Note the version that an event brought."""
        self._versions[key] = version
        self._confirmed_at = self._monotonic()

    def age(self) -> float:
        """Seconds since the watch has shown that it brings what happens."""
        return self._monotonic() - self._confirmed_at

    def missed_keys(self, listed: Mapping[K, str]) -> list[K]:
        """Keys that were behind at the last listing, are still, and of which no event has told in between."""
        self._versions = {key: version for key, version in self._versions.items() if key in listed}
        behind = {key: self._versions.get(key) for key, version in listed.items() if self._versions.get(key) != version}
        missed = [key for key, version in behind.items() if key in self._behind and self._behind[key] == version]
        self._behind = behind
        if not behind:
            self._confirmed_at = self._monotonic()
        return missed
