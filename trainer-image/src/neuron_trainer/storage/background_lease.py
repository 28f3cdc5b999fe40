"""A lease that a thread takes and renews, so that others need not wait for it in the meantime."""

import logging
import math
import threading
from types import TracebackType

from neuron_trainer.errors import DirectoryLostError

from .lease import RENEW_SECONDS, DirectoryLease, Holder

log = logging.getLogger(__name__)


class _EndedError(Exception):
    """The lease is no longer wanted."""


class BackgroundLease:
    """Waits for a directory and holds it, while it is entered.

    Losing it is no error: it only keeps two from doing the same work, and what each writes is whole.
    """

    def __init__(self, lease: DirectoryLease) -> None:
        self._lease = lease
        lease.sleep = self._sleep
        self._ends, self._decided = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="compile-lock", daemon=True)
        self.failure: OSError | None = None
        """Why the directory cannot be locked."""
        self.holder: Holder | None = None
        """The other one that is waited for."""

    def __enter__(self) -> "BackgroundLease":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._ends.set()
        self._thread.join()
        if self._decided.is_set() and self.failure is None:
            self._lease.release()

    def wait(self, seconds: float) -> bool:
        """Return whether the directory is held, or cannot be, after at most so many seconds."""
        return self._decided.wait(seconds)

    def _run(self) -> None:
        try:
            self._lease.acquire(math.inf, self._announce)
            self.holder = None
            self._decided.set()
            while not self._ends.wait(RENEW_SECONDS):
                self._lease.renew()
        except _EndedError:
            return
        except DirectoryLostError as problem:
            log.warning("%s", problem)
        except OSError as problem:
            if not self._decided.is_set():
                self.failure = problem
                self._decided.set()

    def _announce(self, holder: Holder) -> None:
        self.holder = holder

    def _sleep(self, seconds: float) -> None:
        if self._ends.wait(seconds):
            raise _EndedError
