"""What workers and their launcher report to each other: small files in one private directory, replaced atomically.

    start.json       launcher → workers   which checkpoint to resume from, round number (written before every start)
    stop             launcher → workers   SIGTERM arrived: save at the end of this step and leave
    refusal.json     worker → launcher    the input is wrong: exit code 2, no restart
    loss             worker → launcher    steps were finished, and neither storage nor memory has them: exit code 3
    compiler         worker → launcher    the compiler refused a part of the model: exit code 4, no restart
    progress.json    local rank 0 → launcher
    compilation.json local rank 0 → launcher: of the newest compile phase; training does not replace it
    lease.json       launcher → workers   until when the directory is surely the run's own, or that it is lost
    lost.<rank>      worker → launcher    a collective failed because a peer is gone; the worker waits to be stopped
    left.<rank>      worker → launcher    all processes of the run have done their work; what follows is taking down
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
from neuron_api.resource.progress import CompileReport, Progress
from neuron_trainer.errors import CompilationError, DirectoryLostError, InputError, ProgressLostError
from neuron_trainer.storage.files import json_dumps, replace
from neuron_trainer.storage.lease import boot_time

_PAUSE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Start:
    """What the launcher has decided for one round."""

    round: int
    checkpoint: str | None = None
    """The directory to resume from; the choice of global rank 0's launcher counts, and is broadcast."""
    weights_only: bool = False
    last_step: int = 0
    """The newest finished step that this launcher knows of."""
    phases: dict[str, float] = field(default_factory=dict)
    """The seconds of the launcher's phases of this round (`ipc.phases`)."""
    since: float | None = None
    """When they ended, on the monotonic clock; the worker goes on from there."""
    skipped: str = ""
    """What is wrong with newer checkpoints than that one."""
    text: list[str] = field(default_factory=list)
    """How the checkpoint's configuration differs from the file's, a line for each difference."""
    run_id: str = ""
    """The run of the log directory, for the manifests of its checkpoints."""
    is_compiled: bool = False
    """Whether a compile phase has run since this launcher started."""
    launch: str = ""
    """This launcher among those of the run, drawn when it started."""
    loss: str = ""
    """Why the launcher would not begin again at step 0, where memory may have the steps that storage lacks."""
    memory_step: int = 0
    """The step that all processes take from shared memory, and not `checkpoint`; they find it together."""
    memory_missing: list[int] = field(default_factory=list)
    """Ranks that get their copy of it from another node."""

    @property
    def resumes(self) -> bool:
        """Return whether this start goes on from a step of the run."""
        return self.memory_step > 0 or (self.checkpoint is not None and not self.weights_only)


class WorkerChannel:
    """The directory, as either side uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write_start(self, start: Start) -> None:
        """Remove the notes of the last round and write what this one begins with."""
        for old in (*self.folder.glob("lost.*"), *self.folder.glob("left.*")):
            old.unlink()
        replace(self.folder / "start.json", json_dumps(asdict(start)))

    def read_start(self) -> Start:
        """Return the newest decision."""
        return Start(**loads((self.folder / "start.json").read_text()))

    def ask_to_stop(self) -> None:
        """Ask the workers to stop, by one system call: the launcher's signal handler calls it."""
        (self.folder / "stop").touch()

    @property
    def is_stopping(self) -> bool:
        """Return whether this node was asked to stop."""
        return (self.folder / "stop").exists()

    def write_lease(self, until: float, loss: str) -> None:
        """Publish until when the directory is the run's own, by `lease.boot_time`, or how it was lost."""
        replace(self.folder / "lease.json", json_dumps([until, loss]))

    def guard(self, clock: Callable[[], float] = boot_time, sleep: Callable[[float], None] = time.sleep) -> None:
        """Return once the directory is the run's own; to be called before anything is written there.

        Waits while that is not certain, as after a suspension; raises `DirectoryLostError` when another run has it.
        """
        while (lease := self._read_lease()) is not None:
            until, loss = lease
            if loss:
                raise DirectoryLostError(loss)
            if clock() < until:
                return
            sleep(_PAUSE)

    def _read_lease(self) -> tuple[float, str] | None:
        """Return None where nothing is held: on other nodes, and in a test of a model."""
        try:
            until, loss = loads((self.folder / "lease.json").read_text())
        except FileNotFoundError:
            return None
        return until, loss

    def write_progress(self, report: Progress) -> None:
        """Publish the progress; by local rank 0, after every step."""
        replace(self.folder / "progress.json", progress.to_json(report))

    def read_progress(self) -> Progress | None:
        """Return the newest progress; None before the first."""
        try:
            return progress.from_json((self.folder / "progress.json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def write_compilation(self, report: CompileReport) -> None:
        """Publish how far the compile phase is; by local rank 0."""
        replace(self.folder / "compilation.json", report.model_dump_json(by_alias=True))

    def end_compilation(self) -> None:
        """Say that an unfinished phase is over: a process that was killed in it could not, and none begins now."""
        report = self.read_compilation()
        if report is not None and not report.complete:
            self.write_compilation(report.model_copy(update={"complete": True, "holder": ""}))

    def read_compilation(self) -> CompileReport | None:
        """Return how far the newest compile phase is; None where there was none."""
        try:
            return CompileReport.model_validate_json((self.folder / "compilation.json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def make_stderr(self, local_rank: int) -> Path:
        """Create the pipe for a worker's standard error, as the launcher does."""
        path = self.folder / f"stderr.{local_rank}"
        os.mkfifo(path, 0o600)
        return path

    def redirect_stderr(self, local_rank: int) -> None:
        """Send a worker's standard error to the launcher from here on, where that reads it."""
        try:
            pipe = os.open(self.folder / f"stderr.{local_rank}", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # there is no pipe, or nobody reads it
            return
        os.set_blocking(pipe, True)
        os.dup2(pipe, 2)
        os.close(pipe)

    def report_refusal(self, problem: InputError) -> None:
        """Report that the configuration or its inputs are wrong: starting again cannot help."""
        findings = [[finding.key, finding.message, finding.remedy] for finding in problem.findings]
        replace(self.folder / "refusal.json", json_dumps(findings))

    def refusal(self) -> InputError | None:
        """Return what a worker of this node has found wrong with its input."""
        try:
            return InputError([error(*texts) for texts in loads((self.folder / "refusal.json").read_text())])
        except FileNotFoundError:
            return None

    def report_compiler(self, text: str) -> None:
        """Report what the compiler said of a part of the model that it refuses."""
        replace(self.folder / "compiler", text)

    def compiler_refusal(self) -> CompilationError | None:
        """Return what a compiler has said to a worker of this node."""
        try:
            return CompilationError((self.folder / "compiler").read_text())
        except FileNotFoundError:
            return None

    def report_progress_loss(self, text: str) -> None:
        """Report that finished steps are neither in storage nor in memory."""
        replace(self.folder / "loss", text)

    def progress_loss(self) -> ProgressLostError | None:
        """Return what a worker of this node has found lost."""
        try:
            return ProgressLostError((self.folder / "loss").read_text())
        except FileNotFoundError:
            return None

    def report_lost(self, local_rank: int, message: str) -> None:
        """Report that this worker has lost its peers."""
        replace(self.folder / f"lost.{local_rank}", message)

    def lost(self) -> dict[int, str]:
        """Return the messages of the workers that wait to be stopped, by local rank."""
        return self._notes("lost")

    def report_left(self, local_rank: int, outcome: str) -> None:
        """Report how this worker's work has ended, once all processes of the run have met after theirs."""
        replace(self.folder / f"left.{local_rank}", outcome)

    def departures(self) -> dict[int, str]:
        """Return the outcomes of the workers that had only to be taken down, by local rank."""
        return self._notes("left")

    def _notes(self, kind: str) -> dict[int, str]:
        paths = [path for path in self.folder.glob(f"{kind}.*") if path.suffix[1:].isdigit()]
        return {int(path.suffix[1:]): path.read_text() for path in paths}
