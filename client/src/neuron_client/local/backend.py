"""Local jobs: each is `neuron-train run` in a folder below one, and goes on when the notebook's process ends."""

import importlib.util
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from neuron_api import contract
from neuron_api.config import TrainingConfig
from neuron_api.contract import ExitCode
from neuron_api.findings.suggestions import nearest
from neuron_api.loading import interpolation
from neuron_api.loading import overrides as override_texts
from neuron_api.resource import job_name
from neuron_api.resource.accelerator import Accelerator
from neuron_api.resource.status import Phase
from neuron_client.backend import Event, JobRequest
from neuron_client.config_input import ConfigInput
from neuron_client.errors import BackendError, JobNotFoundError, RequestError
from neuron_client.job import Job, JobList
from neuron_client.metrics import MetricsRow
from neuron_client.plan import Plan
from neuron_operator.cli.files import plan as planning
from neuron_operator.cli.files.platform_flags import PlatformFlags
from neuron_operator.kube.errors import UserInputError

from .job_folder import JobFolder, Record

_LEGAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""Names that are one folder everywhere."""
_ERROR: Final = re.compile(r"\d\d:\d\d:\d\d E (.*)")
_ERROR_LINES: Final = 200
"""Lines at the end of the log in which the last error is looked for."""
_INTERVAL: Final = 0.2
_ON_A_CLUSTER: Final = ("instance_type", "storage", "image")
"""Arguments of `train` that mean nothing on this machine."""
_RESUME: Final = ("exp_manager.resume_if_exists=true", "exp_manager.resume_ignore_no_checkpoint=true")


class LocalBackend:
    """Jobs in one folder of this machine."""

    def __init__(self, folder: str | os.PathLike[str], pause: Callable[[float], None] = time.sleep) -> None:
        self._folder, self._pause = Path(folder).absolute(), pause

    def in_namespace(self, _namespace: str) -> "LocalBackend":
        """See `Backend`: this machine has none."""
        return self

    def plan(self, config: ConfigInput, request: JobRequest) -> Plan:
        """See `Backend`: of this machine, a CPU unless `accelerator` says otherwise."""
        accelerator = self._accelerator(request)
        source = replace(config.source(), spec=None)  # a job's storage and pods mean nothing here
        flags = PlatformFlags(str(accelerator), request.instance_type)
        try:
            planned = planning.plan_source(source, _changes(request), flags, None)
        except UserInputError as problem:
            raise RequestError(str(problem)) from None
        return Plan(replace(planned, findings=config.located(planned.findings)), config.file)

    def train(self, config: ConfigInput, request: JobRequest) -> Job:
        """See `Backend`."""
        for name in _ON_A_CLUSTER:
            if getattr(request, name) is not None:
                raise RequestError(f"{name} is for backend='kubernetes': a local run uses this machine")
        if request.nodes not in (None, 1):
            raise RequestError(f"nodes must be 1 for a local run, got {request.nodes}")
        if importlib.util.find_spec("torch") is None:
            raise RequestError("a local run needs the trainer: pip install 'neuron-training-operator[trainer]'")
        self.plan(config, request).raise_for_errors()
        changes = _changes(request)
        loaded = config.source().load(changes)
        assert loaded.config is not None
        name = request.name or job_name.nearest_legal(loaded.config.name)
        if not _LEGAL.fullmatch(name):
            raise RequestError(
                f"{name!r} cannot be the name of a folder: letters, digits, '.', '_' and '-', at most 63"
            )
        path = self._folder / name
        overrides, log_dir = _with_log_dir(loaded.config, changes, JobFolder(path).own_log_dir)
        record = Record(
            created=time.time(),
            directory=_working_directory(),
            overrides=overrides,
            log_dir=str(log_dir),
            max_steps=loaded.config.trainer.max_steps if loaded.config.trainer.max_steps > 0 else None,
            accelerator=self._accelerator(request).device,
        )
        with _translated():
            job = JobFolder.create(path, config.text, record)
            try:
                job.start()
            except (OSError, subprocess.SubprocessError, BackendError):
                with suppress(OSError, BackendError):
                    job.remove()  # nothing has run: the name is free again
                raise
            return _job(job)

    def get(self, name: str) -> Job:
        """See `Backend`."""
        with _translated():
            return _job(self._open(name))

    def list(self) -> JobList:
        """See `Backend`."""
        with _translated():
            return JobList(self._read_jobs())

    def logs(self, name: str, *, node: int, follow: bool, tail: int | None) -> Iterator[str]:
        """See `Backend`."""
        with _translated():
            job = self._open(name)
            if node != 0:
                raise RequestError(f"{name} has node 0 alone, not {node}")
            yield from _lines(job, self._pause, follow=follow, tail=tail)

    def metrics(self, name: str, *, follow: bool) -> Iterator[MetricsRow]:
        """See `Backend`: from metrics.jsonl, with every digit."""
        from . import run_metrics

        with _translated():
            job = self._open(name)
            log_dir = Path(job.record.log_dir)
            if follow:
                yield from run_metrics.followed(log_dir, lambda: job.is_running, self._pause)
            else:
                yield from run_metrics.rows(log_dir)

    def events(self, name: str) -> Sequence[Event]:
        """See `Backend`."""
        with _translated():
            return self._open(name).events()

    def suspend(self, name: str) -> None:
        """See `Backend`."""
        with _translated():
            job = self._open(name)
            if not job.is_running:
                phase = _job(job).phase
                if phase == Phase.SUSPENDED:
                    return
                raise RequestError(f"{name} does not run ({phase}): it cannot be suspended")
            job.ask_to_stop()
            job.add_event("Suspending", "asked to save and stop")

    def resume(self, name: str) -> None:
        """See `Backend`: also of a run that has failed, since no operator starts it again."""
        with _translated():
            job = self._open(name)
            if job.is_running and not job.is_asked_to_stop:
                return
            while job.is_running:
                self._pause(_INTERVAL)
            if _job(job).phase == Phase.SUCCEEDED:
                raise RequestError(f"{name} is over (Succeeded): it cannot be resumed")
            job.start(_RESUME)

    def delete(self, name: str) -> None:
        """See `Backend`."""
        with _translated():
            job = self._open(name)
            job.stop(self._pause)
            job.remove()

    def close(self) -> None:
        """See `Backend`: nothing is open."""

    def _jobs(self) -> tuple[JobFolder, ...]:
        paths = sorted(self._folder.iterdir()) if self._folder.is_dir() else []
        return tuple(job for path in paths if _LEGAL.fullmatch(path.name) and (job := JobFolder(path)).exists)

    def _read_jobs(self) -> Iterator[Job]:
        """Yield the jobs as they are now; one that is deleted meanwhile is left out."""
        for folder in self._jobs():
            with suppress(JobNotFoundError):
                yield _job(folder)

    def _open(self, name: str) -> JobFolder:
        job = JobFolder(self._folder / name)
        if _LEGAL.fullmatch(name) and job.exists:
            return job
        names = [other.name for other in self._jobs()]
        near = nearest(name, names)
        hint = f"did you mean {near}?" if near else f"there are: {', '.join(names[:10])}" if names else "there is none"
        raise JobNotFoundError(f"there is no job {name} in {self._folder}; {hint}")

    @staticmethod
    def _accelerator(request: JobRequest) -> Accelerator:
        name = request.accelerator or Accelerator.CPU
        for item in Accelerator:
            if name in (str(item), item.device):
                return item
        raise RequestError(f"there is no accelerator {name!r}: {', '.join(Accelerator)}")


@contextmanager
def _translated() -> Iterator[None]:
    """Raise `BackendError` where the system refuses: a full disk, a right that is missing, too many processes."""
    try:
        yield
    except OSError as problem:
        place = f"{problem.filename}: " if problem.filename else ""
        raise BackendError(f"{place}{problem.strerror or problem}") from problem
    except subprocess.SubprocessError as problem:
        raise BackendError(f"the trainer could not be started: {problem}") from problem


def _working_directory() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        raise RequestError("the working directory is gone: relative paths of the configuration begin nowhere") from None


def _changes(request: JobRequest) -> tuple[str, ...]:
    """Return the overrides of a run on one machine; the call's own come last."""
    return ("trainer.num_nodes=1", *request.overrides)


def _with_log_dir(config: TrainingConfig, changes: Sequence[str], own: Path) -> tuple[tuple[str, ...], Path]:
    """Return the overrides and the log directory: the one that the configuration gives, else one in the job's folder.

    In a folder of its own no run is taken for another, so exp_dir, name and version are not used.
    """
    explicit = config.exp_manager.explicit_log_dir
    if explicit is not None:
        return tuple(changes), Path(os.path.expandvars(explicit)).expanduser().absolute()
    unused = [f"~exp_manager.{key}" for key in ("exp_dir", "name", "version") if _is_set(config, key)]
    if os.path.expandvars(own) != str(own):
        raise RequestError(f"{own} has a $ before the name of a variable: the trainer would take its value. Rename it")
    value = interpolation.escape(str(own))
    return (*changes, *unused, override_texts.assignment("exp_manager.explicit_log_dir", value)), own


def _is_set(config: TrainingConfig, key: str) -> bool:
    return getattr(config.exp_manager, key) is not None


def _job(folder: JobFolder) -> Job:
    """Return the job as it is now; raise `JobNotFoundError` where it is deleted while it is read."""
    try:
        job = _read(folder)
    except FileNotFoundError:
        if folder.exists:
            raise
    else:
        if folder.exists:
            return job
    raise folder.missing()


def _read(folder: JobFolder) -> Job:
    from . import run_metrics

    record = folder.record
    log_dir = Path(record.log_dir)
    run = run_metrics.look(log_dir)
    last = run.recent[-1] if run.recent else None
    begun = bool(last and folder.start_time and last.time >= folder.start_time.timestamp())
    phase, message = _phase(folder, has_steps=begun)
    checkpoint = _newest_checkpoint(log_dir)
    return Job(
        name=folder.name,
        phase=str(phase),
        message=message,
        step=last.step if last else 0,
        max_steps=record.max_steps,
        loss=last.loss if last else None,
        tokens_per_second=last.tokens_per_second if last else None,
        seconds_left=run_metrics.seconds_left(run, record.max_steps) if phase == Phase.RUNNING else None,
        checkpoint_step=checkpoint[0] if checkpoint else None,
        checkpoint_path=str(checkpoint[1]) if checkpoint else "",
        nodes=1,
        ready_nodes=1 if phase == Phase.RUNNING else None,
        restarts=max(0, len(run.starts) - 1),
        steps_lost=sum(start.steps_lost for start in run.starts),
        created=datetime.fromtimestamp(record.created, UTC),
        started=folder.start_time,
        completed=folder.end_time if phase in (Phase.SUCCEEDED, Phase.FAILED) else None,
        log_dir=str(log_dir),
    )


def _phase(folder: JobFolder, *, has_steps: bool) -> tuple[Phase, str]:
    """Return the phase, and a sentence about it."""
    if folder.is_running:
        if folder.is_asked_to_stop:
            return Phase.SUSPENDING, "it finishes its step and saves"
        return (Phase.RUNNING, "") if has_steps else (Phase.STARTING, "no step of this start has been finished")
    code = folder.exit_code
    if code == ExitCode.SUCCESS:
        return Phase.SUCCEEDED, ""
    if folder.has_stopped:
        return Phase.SUSPENDED, "resume continues from its newest checkpoint"
    if code is None:
        return (
            Phase.FAILED,
            "its processes were killed, or the machine was restarted; resume continues from its newest checkpoint",
        )
    if code < 0:
        return Phase.FAILED, f"ended by {signal.Signals(-code).name}; resume continues from its newest checkpoint"
    return Phase.FAILED, f"exit code {code}: {_last_error(folder)}"


def _last_error(folder: JobFolder) -> str:
    """Return the last line that the trainer logged as an error; without one, its last line."""
    lines = list(_lines(folder, time.sleep, follow=False, tail=_ERROR_LINES))
    errors = [match[1] for line in lines if (match := _ERROR.match(line))]
    return (errors or lines or ["it has no log"])[-1]


def _newest_checkpoint(log_dir: Path) -> tuple[int, Path] | None:
    """Return step and path of the newest complete checkpoint in the log directory."""
    complete: list[tuple[int, Path]] = []
    for marker in (log_dir / contract.CHECKPOINTS_DIR).glob(
        f"*{contract.CHECKPOINT_SUFFIX}/{contract.CHECKPOINT_MARKER}"
    ):
        step = re.search(r"step=(\d+)", marker.parent.name)
        if step is not None:
            complete.append((int(step[1]), marker.parent))
    return max(complete, default=None)


def _lines(job: JobFolder, pause: Callable[[float], None], *, follow: bool, tail: int | None) -> Iterator[str]:
    """Yield the lines of the log; a last one without its end is yielded when the run has ended."""
    while not job.log.exists():
        if not (follow and job.is_running):
            return
        pause(_INTERVAL)
    with job.log.open(errors="replace") as file:
        if tail is not None:
            yield from _tail(file.read().splitlines(), tail)
        rest = ""
        while True:
            goes_on = follow and job.is_running
            while line := file.readline():
                rest += line
                if rest.endswith("\n"):
                    yield rest[:-1]
                    rest = ""
            if not goes_on:
                break
            pause(_INTERVAL)
    if rest:
        yield rest


def _tail(lines: Sequence[str], count: int) -> Sequence[str]:
    return lines[-count:] if count > 0 else []
