"""Numbers that follow from the optimizer steps: samples, and checkpoints before the last step; a time limit."""

from collections.abc import Mapping
from datetime import timedelta


def total_samples(max_steps: int, global_batch: int) -> int | None:
    """Return the samples until `max_steps`; None if the steps are unbounded (-1)."""
    return max_steps * global_batch if max_steps > 0 else None


def saves_before_end(max_steps: int, every: int) -> int | None:
    """Return the periodic checkpoints until `max_steps`; 0 if only the final save leaves one, None if unbounded."""
    if max_steps <= 0:
        return None
    return max_steps // every if every > 0 else 0


def seconds_of(limit: str | Mapping[str, int] | None) -> float | None:
    """Return the seconds of `trainer.max_time` (DD:HH:MM:SS, or a mapping of units); None if it is absent, or only the
    pod can resolve it. Raises ValueError for a malformed text, TypeError for an unknown unit."""
    if limit is None or (isinstance(limit, str) and "${" in limit):
        return None
    if isinstance(limit, str):
        days, hours, minutes, seconds = map(int, limit.split(":"))
        limit = {"days": days, "hours": hours, "minutes": minutes, "seconds": seconds}
    return timedelta(**limit).total_seconds()
