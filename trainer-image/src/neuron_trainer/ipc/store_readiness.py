"""Waiting for a store of torch to listen. A client of it that comes too early waits before it tries again, and has no
setting for how long: the rendezvous of a restart in place took 1.1 to 2.1 s, with this 1.1 to 1.2 (bench-recovery).
"""

import socket
import time
from typing import Final

_PAUSE: Final = 0.02
_TRY: Final = 1.0
"""Seconds until a host that does not answer at all is tried again: its name may stand for another by then."""


def wait_for_port(host: str, port: int, seconds: float, pause: float = _PAUSE) -> OSError | None:
    """Until it answers, at most so long; None, or what was wrong to the end (what comes next says it better)."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((host, port), timeout=_TRY):
                return None
        except OSError as problem:
            if time.monotonic() > deadline:
                return problem
        time.sleep(pause)
