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
        self._offset: timedelta | None = None
        self._epoch = datetime(1970, 1, 1, tzinfo=UTC)

    def observe_server_date(self, date: str | None) -> None:
        """The `Date` of an answer that has just come; one that cannot be read says nothing.

        It is cut to whole seconds, so the server's time is at least that: the largest of all is the nearest. One
        that is far below means that the server's clock was set.
        """
        if not date or date == self._date:
            return
        try:
            server = parsedate_to_datetime(date).astimezone(UTC)
        except ValueError:
            return
        self._date = date
        offset = server - self._since_start()
        if self._offset is None or offset > self._offset or self._offset - offset > TOLERANCE:
            self._offset = offset

    def __call__(self) -> datetime:
        """UTC."""
        wall = self._wall()
        if self._offset is None:
            return wall
        server = self._since_start() + self._offset
        return wall if abs(wall - server) <= TOLERANCE else server

    def _since_start(self) -> datetime:
        return self._epoch + timedelta(seconds=self._monotonic())
