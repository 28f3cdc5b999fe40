"""SIGTERM and SIGINT of the launcher, and the duties of PID 1."""

import logging
import os
import signal
import sys
from contextlib import suppress
from types import FrameType

from neuron_trainer.errors import NotBegunError, PreemptedError
from neuron_trainer.ipc.worker_channel import WorkerChannel

log = logging.getLogger(__name__)


class Stop:
    """Set by a signal; workers see it through the hand-off at the end of their step."""

    def __init__(self, handoff: WorkerChannel) -> None:
        self._handoff = handoff
        self.is_requested = False
        self.has_steps = False
        """Set while workers train: a signal has them finish their step and save."""
        self.is_waiting = False
        """Set while no worker runs and the launcher waits for somebody: then a signal ends the wait at once."""

    def listen(self) -> None:
        """Install the handlers; torch's agent would install its own, which lose the step."""
        os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGQUIT"
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def check(self) -> None:
        """Between the phases of a start; raises `NotBegunError` once a signal has arrived."""
        if self.is_requested:
            raise NotBegunError

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self.is_requested and number == signal.SIGINT:
            sys.exit(128 + number)  # a second Ctrl-C: the person does not want to wait for the checkpoint
        self.is_requested = True
        with suppress(FileNotFoundError):  # the hand-off is gone: the run has ended
            self._handoff.ask_to_stop()
        consequence = "finishing the step and saving" if self.has_steps else "stopping; there is nothing to save yet"
        log.info("%s: %s", signal.Signals(number).name, consequence)
        if self.is_waiting:
            raise PreemptedError(f"{signal.Signals(number).name} while waiting for other nodes")


def reap(own: set[int]) -> None:
    """As PID 1, collect orphans that ended; `own` children are collected by those that started them."""
    if os.getpid() != 1:
        return
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in own:
            return
        os.waitpid(found.si_pid, 0)
