"""How long a test waits before it calls something hung.

Tests wait for conditions, and end at once when one holds. A bound is there so that a fault ends the test at all; a busy
machine must never reach it. With a load of 15 on two cores the suite takes about eight times as long as on idle ones,
where no condition takes more than 20 s.
"""

from typing import Final

BOUND: Final = 600.0
"""Seconds of wall clock for one condition or one program."""
IDLE: Final = 300.0
"""Seconds in which no process of a group has used a processor, after which the group is hung. A group that computes is
not, however long it takes: pytest's own timeout ends it in the end."""
