"""How long each phase of a start took (B-15): process_start, rendezvous, groups, model_build, checkpoint_load, …"""

import time


class Phases:
    """A stopwatch with named laps; the first lap begins when the object is made, or at `since` (monotonic)."""

    def __init__(self, since: float | None = None) -> None:
        self._last = time.monotonic() if since is None else since
        self.seconds: dict[str, float] = {}

    def mark(self, name: str) -> None:
        """End the lap `name`."""
        now = time.monotonic()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now

    def __str__(self) -> str:
        laps = ", ".join(f"{name} {seconds:.2f}" for name, seconds in self.seconds.items())
        return f"{sum(self.seconds.values()):.2f} s ({laps})"
