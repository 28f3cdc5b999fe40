"""What ends a worker, and what does not.

SIGTERM is answered by the launcher alone, which has the workers finish their step and save. But timeout(1), systemd and
Slurm send it to every process of a group or a container, and torch ends the peers of a process that failed by it. So a
worker lives on after SIGTERM, and its launcher ends it by a signal of its own, whose default action also ends a process
that waits in a collective.
"""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Final

END: Final = signal.SIGUSR2
"""Ends a worker at once; exit codes tell it from SIGKILL, by which the kernel ends a process without memory."""


def outlive_termination(_: int = 0) -> None:
    """Let this process live on after SIGTERM: a rank, or one of the numbered processes that read its data.

    By a handler, and not SIG_IGN, which the programs that it starts would inherit.
    """
    signal.signal(signal.SIGTERM, _do_nothing)
    signal.siginterrupt(signal.SIGTERM, False)


def end_with_own_signal(processes: Iterable[BaseProcess]) -> None:
    """Let `terminate()` of these processes send END."""
    for process in processes:
        process.terminate = _Ender(process)  # type: ignore[method-assign]


class _Ender:
    def __init__(self, process: BaseProcess) -> None:
        self._process = process

    def __call__(self) -> None:
        if self._process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, END)


def _do_nothing(_: int, __: FrameType | None) -> None:
    """The launcher has the same signal, and says in the channel what is to be done."""
