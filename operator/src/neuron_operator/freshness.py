"""Whether the watch still brings what happens: kopf may live on and be blind (kopf.md §2; discovery that failed once).

At every resync the listed versions are compared with those that events have brought. An object whose version no event
had brought at one listing, and of which no event has told until the next, was missed: the process ends and a new one
watches anew.
"""

from collections.abc import Mapping
from typing import Generic, TypeVar

K = TypeVar("K")


class Freshness(Generic[K]):
    """What events have brought; kept as long as the object is listed."""

    def __init__(self) -> None:
        self._seen: dict[K, str] = {}
        self._doubtful: dict[K, str | None] = {}
        """What had been seen of the keys that were behind at the last listing."""

    def saw(self, key: K, version: str) -> None:
        """An event."""
        self._seen[key] = version

    def missed(self, listed: Mapping[K, str]) -> list[K]:
        """Keys that were behind at the last listing, are still, and of which no event has told in between."""
        self._seen = {key: version for key, version in self._seen.items() if key in listed}
        doubtful = {key: self._seen.get(key) for key, version in listed.items() if self._seen.get(key) != version}
        missed = [key for key, seen in doubtful.items() if key in self._doubtful and self._doubtful[key] == seen]
        self._doubtful = doubtful
        return missed
