"""What workers and their launcher tell each other: small files in one private directory, replaced atomically.

    start.json       launcher → workers   which checkpoint to take up, round number (written before every start)
    stop             launcher → workers   SIGTERM arrived: save at the end of this step and leave
    refusal.json     worker → launcher    the input is wrong: exit code 2, no restart
    progress.json    local rank 0 → launcher
    lease.json       launcher → workers   until when the run's directory is surely its own, or that it is lost
    lost.<rank>      worker → launcher    a collective failed because a peer is gone; the worker waits to be stopped
    stderr.<rank>    worker → launcher    a named pipe; without it, standard error is the launcher's own

Files outlive a worker that is killed at any instruction, need no thread on either side, and cost 60 µs a step.
"""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from json import loads
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from neuron_api.findings.finding import error
from neuron_api.resource import progress
from neuron_api.resource.progress import Progress
from neuron_trainer.errors import InputError, LeaseLostError
from neuron_trainer.storage import json_text
from neuron_trainer.storage.files import replace
from neuron_trainer.storage.lease import boot_time

_PAUSE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Start:
    """What the launcher decided for one round."""

    round: int
    checkpoint: str | None = None
    """Directory to take up; only global rank 0's launcher's choice counts, it is broadcast."""
    weights_only: bool = False
    last_step: int = 0
    """Newest step that this launcher has seen finished."""
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds of what the launcher has done for this round (`phases`)."""
    since: float | None = None
    """When that was done, on the monotonic clock; the worker goes on from there."""
    passed_over: str = ""
    """What was wrong with newer checkpoints than that one."""
    text: list[str] = field(default_factory=list)
    """How the checkpoint's configuration differs from the file's, a line each."""
    run_id: str = ""
    """Of the run that the log directory is of, for the manifests of its checkpoints."""


class WorkerChannel:
    """One directory, from either side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write_start(self, start: Start) -> None:
        """Clear what the last round left and say what this one begins with."""
        for old in self.folder.glob("lost.*"):
            old.unlink()
        replace(self.folder / "start.json", json_text.dumps(asdict(start)))

    def read_start(self) -> Start:
        """The newest decision."""
        return Start(**loads((self.folder / "start.json").read_text()))

    def ask_to_stop(self) -> None:
        """From the launcher's signal handler: one system call."""
        (self.folder / "stop").touch()

    @property
    def is_stopping(self) -> bool:
        """Whether this node was asked to stop."""
        return (self.folder / "stop").exists()

    def write_lease(self, until: float, lost: str) -> None:
        """`until`: by `lease.boot_time`, which all processes of a machine share."""
        replace(self.folder / "lease.json", json_text.dumps([until, lost]))

    def guard(self, clock: Callable[[], float] = boot_time, sleep: Callable[[float], None] = time.sleep) -> None:
        """Before anything is written to the run's directory: returns while it is the run's.

        Waits while that is not known, as after a suspension; raises `LeaseLostError` when another run has it.
        """
        while (lease := self._read_lease()) is not None:
            until, lost = lease
            if lost:
                raise LeaseLostError(lost)
            if clock() < until:
                return
            sleep(_PAUSE)

    def _read_lease(self) -> tuple[float, str] | None:
        """None where nothing is held: on other nodes, and in a test of a model."""
        try:
            until, lost = loads((self.folder / "lease.json").read_text())
        except FileNotFoundError:
            return None
        return until, lost

    def write_progress(self, report: Progress) -> None:
        """By local rank 0, after every step."""
        replace(self.folder / "progress.json", progress.to_json(report))

    def read_progress(self) -> Progress | None:
        """None before the first report."""
        try:
            return progress.from_json((self.folder / "progress.json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def make_stderr(self, local_rank: int) -> Path:
        """By the launcher: the pipe."""
        path = self.folder / f"stderr.{local_rank}"
        os.mkfifo(path, 0o600)
        return path

    def redirect_stderr(self, local_rank: int) -> None:
        """By a worker: what it writes to its standard error from here on goes to the launcher, where that reads it."""
        try:
            pipe = os.open(self.folder / f"stderr.{local_rank}", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # there is none, or nobody who reads it
            return
        os.set_blocking(pipe, True)
        os.dup2(pipe, 2)
        os.close(pipe)

    def report_refusal(self, problem: InputError) -> None:
        """By a worker that has found the configuration or its inputs wrong: starting again cannot help."""
        findings = [[one.key, one.message, one.remedy] for one in problem.findings]
        replace(self.folder / "refusal.json", json_text.dumps(findings))

    def refusal(self) -> InputError | None:
        """What a worker of this node has reported so."""
        try:
            return InputError([error(*one) for one in loads((self.folder / "refusal.json").read_text())])
        except FileNotFoundError:
            return None

    def report_lost(self, local_rank: int, message: str) -> None:
        """By a worker that lost its peers."""
        replace(self.folder / f"lost.{local_rank}", message)

    def lost(self) -> dict[int, str]:
        """Messages of the workers that wait to be stopped, by local rank."""
        return {
            int(path.suffix[1:]): path.read_text() for path in self.folder.glob("lost.*") if path.suffix[1:].isdigit()
        }
