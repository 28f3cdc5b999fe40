"""Spans of time for people, as kubectl writes them: the two largest units."""

from datetime import datetime
from typing import Final

_UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def text(seconds: float) -> str:
    """`2d3h`, `4m`, `17s`; what is below a second, or in the future by a clock that is ahead, is `0s`."""
    remaining = max(0, int(seconds))
    for position, (unit, size) in enumerate(_UNITS):
        if remaining >= size:
            smaller, smaller_size = _UNITS[position + 1] if position + 1 < len(_UNITS) else ("", 1)
            rest = remaining % size // smaller_size if smaller else 0
            return f"{remaining // size}{unit}" + (f"{rest}{smaller}" if rest else "")
    return "0s"


def since(moment: datetime, now: datetime) -> str:
    """How long ago."""
    return text((now - moment).total_seconds())
