"""What a restart costs: only a failure of this node's own process counts, not the loss of a peer."""

from dataclasses import dataclass
from typing import Final

_FREE_REJOINS: Final = 3
"""Rounds in a row without a finished step that a lost peer may cost before they count as failures."""
_DEVICE_PATIENCE: Final = 120.0
"""Seconds for which a device that is not free costs no restart: a process that was killed holds it until the driver has
taken it down."""


@dataclass
class RestartBudget:
    """The restarts of this launcher, over all of its agents."""

    remaining: int
    idle_rejoins: int = 0
    rounds: int = 0
    busy_since: float | None = None
    """When the device was first found not to be free, on the monotonic clock."""

    def take(self) -> bool:
        """Use one restart; return False when there is none."""
        self.remaining -= 1
        return self.remaining >= 0

    def take_for_peer(self, made_progress: bool) -> bool:
        """Allow a restart for a lost peer, which is free as long as training makes progress."""
        self.idle_rejoins = 0 if made_progress else self.idle_rejoins + 1
        return self.idle_rejoins <= _FREE_REJOINS or self.take()

    def take_for_device(self, made_progress: bool, now: float) -> bool:
        """Return whether a device that was not free is waited for, which is free for a while."""
        if made_progress or self.busy_since is None:
            self.busy_since = now
        return now - self.busy_since < _DEVICE_PATIENCE
