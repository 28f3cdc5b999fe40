"""What time it is: the operator's own clock, unless the API server disagrees; then the API server's.

Deadlines compare with times that the API server and the operator itself wrote down earlier. A node's clock that is
hours off, or is set while the operator runs, would end jobs that are well. Every answer of the API server says what
time it is there (`Date`, RFC 9110 §6.6.1), and each pass begins with a read.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

TOLERANCE: Final = timedelta(seconds=2)
"""`Date` has whole seconds, and an answer takes its time: below this, the own clock is the finer one."""


def utc() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


class Clock:
    """Call it for the time; tell it every `Date`."""

    def __init__(self, wall: Callable[[], datetime] = utc, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._date = ""
        self._server: datetime | None = None
        self._at = 0.0

    def heard(self, date: str | None) -> None:
        """The `Date` of an answer that has just come; one that cannot be read says nothing."""
        if not date or date == self._date:
            return
        try:
            self._server = parsedate_to_datetime(date).astimezone(UTC)
        except ValueError:
            return
        self._date, self._at = date, self._monotonic()

    def __call__(self) -> datetime:
        """UTC."""
        wall = self._wall()
        if self._server is None:
            return wall
        server = self._server + timedelta(seconds=self._monotonic() - self._at)
        return wall if abs(wall - server) <= TOLERANCE else server
