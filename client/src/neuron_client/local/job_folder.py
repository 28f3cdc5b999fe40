"""The folder of a local job: its configuration, its log, what has become of it; and whether it runs.

A run holds a lock on `lock`, which the system frees when the last of its processes is gone. So what is read is true
after a crash of the notebook, of the run or of the machine, and no process id is believed without it.
"""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from neuron_api.contract import ExitCode
from neuron_client.backend import Event
from neuron_client.errors import BackendError, JobExistsError, JobNotFoundError

from . import supervisor

_JOB: Final = "job.json"
_CONFIG: Final = "config.yaml"
_LOCK: Final = "lock"
_STOP: Final = "stop.json"
"""Written when the job is asked to save and stop, until it is started again."""
_EVENTS: Final = "events.jsonl"
_RUN: Final = "run"
"""The run's log directory, where the configuration names none."""
_INTERVAL: Final = 0.1
_STOP_SECONDS: Final = 120.0
"""For which `stop` waits for the checkpoint before processes are killed; as long as a pod's grace."""
_LOCK_SECONDS: Final = 2.0
"""For which a lock is tried: whoever only asks whether the job runs holds it for a moment."""
_LOCK_INTERVAL: Final = 0.01
_STOPPED: Final = (ExitCode.SUCCESS, ExitCode.PREEMPTED)
"""Exit codes of a run that has done what it was asked to."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a job was started with."""

    created: float
    directory: str
    """Where relative paths of the configuration begin."""
    overrides: tuple[str, ...]
    log_dir: str
    max_steps: int | None
    accelerator: str = "cpu"


class JobFolder:
    """One job; made by `create`, found again by its path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name

    @classmethod
    def create(cls, path: Path, config: str, record: Record) -> "JobFolder":
        """Make the folder; raise `JobExistsError` where it exists. It appears as a whole: nobody sees half a job."""
        if (job := cls(path)).exists:
            raise _exists(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent, ignore_cleanup_errors=True) as new:
            place = Path(new) / path.name
            place.mkdir()
            (place / _CONFIG).write_text(config, encoding="utf-8")
            supervisor.write(place / _JOB, asdict(record))
            try:
                place.rename(path)
            except OSError as problem:
                if job.exists:
                    raise _exists(path) from None
                if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                raise BackendError(f"{path} exists and is no job: choose another name, or remove it") from None
        return job

    @property
    def exists(self) -> bool:
        """Return whether there is such a job."""
        return (self.path / _JOB).is_file()

    @property
    def record(self) -> Record:
        """Return what the job was started with; raise `JobNotFoundError` where it has been deleted."""
        values = _read(self.path / _JOB)
        if not self.exists:
            raise self.missing()
        try:
            return Record(**{**values, "overrides": tuple(values["overrides"])})
        except (TypeError, KeyError):
            raise BackendError(f"{self.path / _JOB} is not what this release writes: remove {self.path}") from None

    def missing(self) -> JobNotFoundError:
        """Return the error of a job that is not there any more."""
        return JobNotFoundError(f"there is no job {self.name} in {self.path.parent}: it has been deleted")

    @property
    def config(self) -> Path:
        """Return the configuration as it was given."""
        return self.path / _CONFIG

    @property
    def log(self) -> Path:
        """Return the file that the trainer writes to."""
        return self.path / supervisor.LOG

    @property
    def own_log_dir(self) -> Path:
        """Return the log directory of a run whose configuration names none."""
        return self.path.absolute() / _RUN

    @property
    def is_running(self) -> bool:
        """Return whether a process of the job lives."""
        try:
            with (self.path / _LOCK).open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except (FileNotFoundError, NotADirectoryError):
            return False
        return False

    @property
    def is_asked_to_stop(self) -> bool:
        """Return whether the newest start was asked to save and stop."""
        return (self.path / _STOP).exists()

    @property
    def has_stopped(self) -> bool:
        """Return whether the newest start has ended because it was asked to: also by the signal itself, where that came
        before the trainer was ready to handle it."""
        code = self.exit_code
        return code == ExitCode.PREEMPTED or (self.is_asked_to_stop and code in (None, -signal.SIGTERM))

    @property
    def exit_code(self) -> int | None:
        """Return how the newest start has ended; None while it runs, and where its processes were killed."""
        code = _read(self.path / supervisor.END).get("code")
        return int(code) if code is not None else None

    @property
    def end_time(self) -> datetime | None:
        """Return when the newest start has ended, where that is known."""
        return _moment(_read(self.path / supervisor.END).get("time"))

    @property
    def start_time(self) -> datetime | None:
        """Return when the newest start began."""
        return _moment(_read(self.path / supervisor.LAUNCHER).get("time"))

    def start(self, more_overrides: Sequence[str] = ()) -> None:
        """Start the trainer; raise `BackendError` where it runs already."""
        record = self.record
        if not Path(record.directory).is_dir():
            raise BackendError(
                f"{self.name} was started in {record.directory}, where relative paths of its configuration begin. "
                "There is no such directory: make it again, or start another job"
            )
        command = [sys.executable, "-m", "neuron_trainer", "run", str(self.config.absolute())]
        command += ["--accelerator", record.accelerator, *record.overrides, *more_overrides]
        with self._locked() as lock:
            for name in (_STOP, supervisor.END, supervisor.LAUNCHER):
                (self.path / name).unlink(missing_ok=True)
            self.add_event("Started", f"neuron-train run in {record.directory}")
            program = [sys.executable, "-m", "neuron_client.local.supervisor", str(self.path.absolute()), str(lock)]
            subprocess.run(
                [*program, *command],
                cwd=record.directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[lock],
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                check=True,
            )

    def ask_to_stop(self) -> None:
        """Let the trainer finish its step, save and end."""
        try:
            supervisor.write(self.path / _STOP, {"time": time.time()})
        except FileNotFoundError:  # also where another process asks at the same time
            if not self.exists:
                raise self.missing() from None
        self._signal(signal.SIGTERM)

    def stop(self, pause: Callable[[float], None]) -> None:
        """Let the trainer save and end, and wait for it; it is killed where that takes too long."""
        self.ask_to_stop()
        deadline = time.monotonic() + _STOP_SECONDS
        while self.is_running:
            if time.monotonic() >= deadline:
                self._signal(signal.SIGKILL)
            pause(_INTERVAL)

    def remove(self) -> None:
        """Remove the folder with all that is in it; the job is gone before the first file of it is."""
        away = Path(tempfile.mkdtemp(prefix=f".{self.name}.", dir=self.path.parent))
        try:
            with self._locked():
                self.path.rename(away / self.name)
        finally:
            shutil.rmtree(away)

    def add_event(self, reason: str, message: str) -> None:
        """Append one line to the events."""
        line = json.dumps({"time": time.time(), "reason": reason, "message": message})
        with (self.path / _EVENTS).open("a") as file:
            file.write(f"{line}\n")

    def events(self) -> list[Event]:
        """Return what was done with the job, and how its newest start has ended."""
        result = [
            Event(datetime.fromtimestamp(values["time"], UTC), values["reason"], values["message"])
            for values in _lines(self.path / _EVENTS)
        ]
        code, end = self.exit_code, self.end_time
        if code is not None and end is not None:
            result.append(
                Event(end, "Ended", f"exit code {code}", is_warning=code not in _STOPPED and not self.has_stopped)
            )
        return result

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the lock of a run; raise `BackendError` where the job runs, and `JobNotFoundError` where it is gone."""
        try:
            file = (self.path / _LOCK).open("a")
        except (FileNotFoundError, NotADirectoryError):
            raise self.missing() from None
        with file:
            deadline = time.monotonic() + _LOCK_SECONDS
            while not _lock(file.fileno()):
                if time.monotonic() >= deadline:
                    raise BackendError(f"{self.name} runs already")
                time.sleep(_LOCK_INTERVAL)
            if not self.exists:
                raise self.missing()
            yield file.fileno()

    def _signal(self, number: signal.Signals) -> None:
        """Signal the launcher, which alone knows how to end its processes; wait for it where it is being started."""
        deadline = time.monotonic() + _STOP_SECONDS
        while self.is_running and time.monotonic() < deadline:
            if (number_of_process := _read(self.path / supervisor.LAUNCHER).get("pid")) is not None:
                with suppress(ProcessLookupError):
                    os.kill(int(number_of_process), number)
                return
            time.sleep(_INTERVAL)


def _exists(path: Path) -> JobExistsError:
    remedy = "choose another name, resume that job, or delete it first"
    return JobExistsError(f"there is a job {path.name} in {path.parent}: {remedy}")


def _lock(file: int) -> bool:
    """Return whether the lock could be had."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for text in path.read_text().splitlines() if path.exists() else ():
        with suppress(ValueError):
            yield json.loads(text)


def _moment(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None
