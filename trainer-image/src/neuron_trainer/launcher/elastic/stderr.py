"""The last lines that each process wrote to its standard error. A native abort leaves no traceback: the Neuron runtime
says what was wrong there, and nowhere else.

Each process has a named pipe in the channel's directory; a thread reads it, remembers the last lines and passes all of
them on. On a terminal there is no pipe: a progress bar must see that it writes to a terminal.
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

MAX_LINES: Final = 40
"""Lines of each process."""
_FATAL: Final = b"Fatal Python error: "
"""How the report of faulthandler begins: the stacks of all threads, after which nothing else is remembered."""
_PIECE: Final = 1 << 16
_MAX_LINE: Final = 4096
"""Bytes; a longer line is passed on without its end."""


class Stderr:
    """The standard error of the processes of one launcher, in every round."""

    def __init__(
        self, channel: WorkerChannel, processes: int, put: Callable[[bytes], object] = lambda data: os.write(2, data)
    ) -> None:
        self._channel, self._processes = channel, processes
        self._put = put
        self._lock = threading.Lock()
        self._lines = [deque[bytes](maxlen=MAX_LINES) for _ in range(processes)]
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
            path = self._channel.make_stderr(local_rank)
            self._pipes.append(os.open(path, os.O_RDWR | os.O_NONBLOCK))  # for writing, too: it never ends
        self._thread.start()

    def tail(self, local_rank: int) -> str:
        """Return the last lines of a process that has ended; all that it wrote is in the pipe by then."""
        with self._lock:
            if self._pipes:
                self._take(local_rank)
            lines = self._lines[local_rank].copy()
            if rest := self._rest[local_rank]:
                self._remember(lines, rest)
        return b"\n".join(lines).decode(errors="replace").strip("\n")

    def begin_again(self) -> None:
        """Forget what the processes of the last round wrote."""
        with self._lock:
            for lines in self._lines:
                lines.clear()

    def close(self) -> None:
        """Pass on the rest, and close the pipes."""
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
        """Read everything that is in the pipe now."""
        with suppress(BlockingIOError):
            while piece := os.read(self._pipes[local_rank], _PIECE):
                *lines, rest = (self._rest[local_rank] + piece).split(b"\n")
                if len(rest) > _MAX_LINE:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    self._remember(self._lines[local_rank], line)
                self._rest[local_rank] = rest
                self._pass_on(b"".join(line + b"\n" for line in lines))

    @staticmethod
    def _remember(lines: deque[bytes], line: bytes) -> None:
        if not (lines and lines[-1].startswith(_FATAL)):
            lines.append(line)

    def _pass_on(self, data: bytes) -> None:
        with suppress(OSError):  # nobody reads our own: that must not end a training
            self._put(data)
