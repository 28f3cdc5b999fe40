"""Numbers of bytes as people read them."""

from typing import Final

_UNITS: Final = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


def decimal(count: int) -> str:
    """In the largest unit that it has one of: `1.5 GB`, `12.0 kB`, `7 B`."""
    return next((f"{count / size:.1f} {unit}" for unit, size in _UNITS if count >= size), f"{count} B")
