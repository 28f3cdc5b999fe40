"""What a number of optimizer steps comes to: samples, and checkpoints before the last step; a limit on the clock."""

from collections.abc import Mapping
from datetime import timedelta


def total_samples(max_steps: int, global_batch: int) -> int | None:
    """Samples until `max_steps`; None when the steps are not bounded (-1)."""
    return max_steps * global_batch if max_steps > 0 else None


def saves_before_end(max_steps: int, every: int) -> int | None:
    """Regular checkpoints until `max_steps`; 0: only the save at the end leaves one. None: steps are not bounded."""
    if max_steps <= 0:
        return None
    return max_steps // every if every > 0 else 0


def seconds_of(limit: str | Mapping[str, int] | None) -> float | None:
    """Seconds of `trainer.max_time` (DD:HH:MM:SS, or a mapping of units); None without one, or where only the pod
    knows it. Raises ValueError for a text of another form, TypeError for an unknown unit."""
    if limit is None or (isinstance(limit, str) and "${" in limit):
        return None
    if isinstance(limit, str):
        days, hours, minutes, seconds = map(int, limit.split(":"))
        limit = {"days": days, "hours": hours, "minutes": minutes, "seconds": seconds}
    return timedelta(**limit).total_seconds()
