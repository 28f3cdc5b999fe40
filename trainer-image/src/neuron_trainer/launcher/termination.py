"""How the launcher ends: its exit code, what it says last to people and to the operator, and the message that the
kubelet keeps of a container (at most 4096 bytes).

What may end it early: SIGTERM and SIGINT; and the duties of PID 1.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from neuron_api import contract, redaction
from neuron_api.contract import ExitCode
from neuron_api.resource.progress import CompileReport, Progress
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


_CUT: Final = "[…]\n"


@dataclass(frozen=True, slots=True)
class LauncherOutcome:
    """How the launcher ends."""

    code: ExitCode
    message: str
    """For people."""
    final_report: str = ""
    """For the operator, in place of the message, where training has ended well."""


def write(text: str, path: str = contract.TERMINATION_LOG) -> None:
    """Write the message, without secrets of addresses; outside of a pod there is no such file, and nothing happens."""
    if os.access(path, os.W_OK):
        with open(path, "wb") as file:  # noqa: PTH123  a device-like file: never replaced, never created
            file.write(shorten(redaction.addresses(text)))


def shorten(text: str, limit: int = contract.TERMINATION_MESSAGE_LIMIT) -> bytes:
    """Cut a text in the middle: the first line says what happened, and the end of a traceback says why."""
    data = text.encode(errors="replace")
    if len(data) <= limit:
        return data
    head = data.partition(b"\n")[0][: limit // 4].decode(errors="ignore")
    start = f"{head}\n{_CUT}".encode()
    tail = data[-(limit - len(start)) :].decode(errors="ignore")
    return start + tail.encode()


def nothing_to_do(checkpoint: Path, step: int, max_steps: int) -> str:
    """Return what is said of a run whose newest checkpoint is at or past its last step."""
    if step > max_steps:
        return f"nothing to do: {checkpoint} is at step {step}, {step - max_steps} past max_steps {max_steps}"
    return f"nothing to do: {checkpoint} is at the last step already"


def compiled(report: CompileReport | None, cache: Path) -> str:
    """Return how a compile phase that was all there was to do has ended."""
    if report is None:
        return f"nothing was compiled: {cache} cannot be written"
    return f"{report.done} graphs of the first process are in {cache}; {report.compiled} of them were compiled now"


def last_sentence(outcomes: set[str], report: Progress, folder: Path) -> str:
    """Return how a training that did not fail has ended: whether there is more to do, and how to go on."""
    from neuron_trainer.worker import WorkerOutcome  # torch

    step = f"at step {report.step}" + (f" of {report.max_steps}" if report.max_steps else "")
    if WorkerOutcome.OUT_OF_TIME in outcomes:
        return (
            f"trainer.max_time is over {step}: training has not ended. To continue from there, start again with "
            f"exp_manager.resume_if_exists and the log directory {folder}."
        )
    if WorkerOutcome.STOPPED_EARLY in outcomes:
        return f"early stopping ended the training {step}"
    return f"training has ended {step}"
