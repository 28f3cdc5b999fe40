"""SIGTERM and SIGINT of the launcher, and the duties of PID 1."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from neuron_trainer.errors import NotBegunError, PreemptedError
from neuron_trainer.ipc.worker_channel import WorkerChannel

log = logging.getLogger(__name__)


class StopRequest:
    """Whether a signal asked this node to stop; workers read it in the channel at the end of their step."""

    def __init__(self, channel: WorkerChannel, kill_workers: Callable[[], None] = lambda: None) -> None:
        self._channel, self._kill_workers = channel, kill_workers
        self.is_requested = False
        self.signal = signal.SIGTERM
        """The newest that has asked for it."""
        self.has_steps = False
        """Set while workers train: a signal has them finish their step and save."""
        self.is_waiting = False
        """Set while no worker runs and the launcher waits for another process: then a signal ends the wait at once."""

    def listen(self) -> None:
        """Install the handlers; torch's agent would install its own, which lose the step."""
        os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGQUIT"
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def check(self) -> None:
        """Raise `NotBegunError` once a signal has arrived; called between the phases of a start."""
        if self.is_requested:
            raise NotBegunError

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self.is_requested and number == signal.SIGINT:
            self._kill_workers()
            sys.exit(128 + number)  # a second Ctrl-C: the person does not want to wait for the checkpoint
        self.is_requested, self.signal = True, signal.Signals(number)
        with suppress(FileNotFoundError):  # the channel is gone: the run has ended
            self._channel.ask_to_stop()
        consequence = "finishing the step and saving" if self.has_steps else "stopping; there is nothing to save yet"
        log.info("%s: %s", self.signal.name, consequence)
        if self.is_waiting:
            raise PreemptedError(f"{self.signal.name} while waiting for other nodes")


def reap(own: set[int]) -> None:
    """Collect orphans that ended, as PID 1 must; those who started the `own` children collect them."""
    if os.getpid() != 1:
        return
    while True:
        try:
            child = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if child is None or child.si_pid in own:
            return
        os.waitpid(child.si_pid, 0)
