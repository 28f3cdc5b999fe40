"""What each process wrote to its standard error last. A native abort leaves no traceback: the Neuron runtime says what
was wrong there, and nowhere else.

Each process has a named pipe in the hand-over directory, which this thread reads, keeps the end of and passes on. On a
terminal there is none: a progress bar must see that it is one.
"""

import os
import selectors
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from neuron_trainer.ipc.worker_channel import WorkerChannel

KEPT: Final = 40
"""Lines of each process."""
_FATAL: Final = b"Fatal Python error: "
"""Begins what faulthandler writes after a signal: the stacks of all threads, after which nothing else comes."""
_PIECE: Final = 1 << 16
_LONGEST: Final = 4096
"""Bytes; what has no end of line by then is passed on as it is."""


class Stderr:
    """Of the processes of one launcher, in every round."""

    def __init__(
        self, handoff: WorkerChannel, processes: int, put: Callable[[bytes], object] = lambda data: os.write(2, data)
    ) -> None:
        self._handoff, self._processes = handoff, processes
        self._put = put
        self._lock = threading.Lock()
        self._lines = [deque[bytes](maxlen=KEPT) for _ in range(processes)]
        self._rest = [b""] * processes
        self._pipes: list[int] = []
        self._thread = threading.Thread(target=self._read, name="stderr", daemon=True)

    def __enter__(self) -> "Stderr":
        if not sys.stderr.isatty():
            self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Make the pipes; processes that start from now on write into them."""
        self._wake, self._end = os.pipe()
        for local_rank in range(self._processes):
            path = self._handoff.make_stderr(local_rank)
            self._pipes.append(os.open(path, os.O_RDWR | os.O_NONBLOCK))  # for writing, too: it never ends
        self._thread.start()

    def tail(self, local_rank: int) -> str:
        """The last lines of a process that has ended, whole: what it wrote is in the pipe by then."""
        with self._lock:
            if self._pipes:
                self._take(local_rank)
            lines = self._lines[local_rank].copy()
            if rest := self._rest[local_rank]:
                self._keep(lines, rest)
        return b"\n".join(lines).decode(errors="replace").strip("\n")

    def begin_again(self) -> None:
        """New processes start: what the old ones wrote is no longer asked for."""
        with self._lock:
            for lines in self._lines:
                lines.clear()

    def close(self) -> None:
        """Pass on what is left."""
        if not self._pipes:
            return
        os.close(self._end)
        self._thread.join()
        with self._lock:
            for local_rank, pipe in enumerate(self._pipes):
                self._take(local_rank)
                self._pass_on(self._rest[local_rank])
                os.close(pipe)
            self._pipes = []
        os.close(self._wake)

    def _read(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ, -1)
            for local_rank, pipe in enumerate(self._pipes):
                selector.register(pipe, selectors.EVENT_READ, local_rank)
            while True:
                for key, _ in selector.select():
                    if key.data < 0:
                        return
                    with self._lock:
                        self._take(key.data)

    def _take(self, local_rank: int) -> None:
        """Everything that is in the pipe now."""
        with suppress(BlockingIOError):
            while piece := os.read(self._pipes[local_rank], _PIECE):
                *lines, rest = (self._rest[local_rank] + piece).split(b"\n")
                if len(rest) > _LONGEST:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    self._keep(self._lines[local_rank], line)
                self._rest[local_rank] = rest
                self._pass_on(b"".join(line + b"\n" for line in lines))

    @staticmethod
    def _keep(kept: deque[bytes], line: bytes) -> None:
        if not (kept and kept[-1].startswith(_FATAL)):
            kept.append(line)

    def _pass_on(self, data: bytes) -> None:
        with suppress(OSError):  # Nobody reads our own: that must not end a training
            self._put(data)
