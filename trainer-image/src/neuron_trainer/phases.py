"""How long each phase of a start took (B-15), in the order in which they follow each other:

rendezvous       launcher: the agents of all nodes have found each other
checkpoint_find  launcher of node 0: the newest whole checkpoint was found and verified
process_start    the ranks run (forked from the forkserver, which has everything imported)
groups           process groups
model_build      model and optimizer
setup            Lightning's own
checkpoint_load  tensors and trainer state; not in a start from scratch, nor is setup told apart
data_seek        loops, schedule and the position in the data
first_step
"""

import time
from collections.abc import Mapping


class Phases:
    """A stopwatch with named laps; the first lap begins when the object is made, or at `since` (monotonic)."""

    def __init__(self, since: float | None = None, before: Mapping[str, float] | None = None) -> None:
        """`before`: laps that somebody else took, and that ended at `since`."""
        self._last = time.monotonic() if since is None else since
        self.seconds: dict[str, float] = dict(before or {})

    def mark(self, name: str) -> None:
        """End the lap `name`."""
        now = time.monotonic()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now

    @property
    def last(self) -> float:
        """When the last lap ended (monotonic)."""
        return self._last

    def __str__(self) -> str:
        laps = ", ".join(f"{name} {seconds:.2f}" for name, seconds in self.seconds.items())
        return f"{sum(self.seconds.values()):.2f} s ({laps})"
