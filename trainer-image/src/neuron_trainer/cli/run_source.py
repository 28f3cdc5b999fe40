"""Runs without Kubernetes for the dashboard: what their log directories have, looked at while somebody looks."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from errno import ENOENT
from pathlib import Path
from typing import Any, Final

import yaml

from neuron_api import contract, timeline
from neuron_api.resource.overview import (
    CheckpointView,
    Curves,
    Fact,
    JobDetail,
    JobSummary,
    RestartView,
    TimeShare,
)
from neuron_dashboard.source import Snapshot, SourceError
from neuron_trainer.checkpoint import catalog
from neuron_trainer.metrics.curves import CurveReader
from neuron_trainer.metrics.history import StepMetrics
from neuron_trainer.metrics.run_reader import RunLines, RunReader
from neuron_trainer.metrics.timeline import timeline_file
from neuron_trainer.run_directory.log_dir import RESOLVED_CONFIG
from neuron_trainer.storage import lease

RUNNING, STOPPED, SUCCEEDED, PENDING = "Running", "Stopped", "Succeeded", "Pending"
UNREADABLE: Final = "Unreadable"
_INTERVAL: Final = 1.0
"""Seconds between two looks at the files' sizes."""
_SILENCE: Final = 120.0
"""Seconds without a logged step after which a run counts as stopped, or ten times its pace if that is more."""
_LARGE: Final = 5_000_000
"""Bytes of metrics that take half a second or more the first time: 300,000 steps (54 MB) took 5 s."""
_BEING_READ: Final = "Its files are being read."
_SHOWN: Final = (
    "name",
    "model_source",
    "trainer.max_steps",
    "trainer.devices",
    "trainer.num_nodes",
    "data.global_batch_size",
    "data.micro_batch_size",
    "model.encoder_seq_length",
    "model.optim.name",
    "model.optim.lr",
    "precision.type",
    "distributed_strategy.tensor_model_parallel_size",
    "distributed_strategy.pipeline_model_parallel_size",
)
"""Keys of the configuration that a person looks for."""


class RunSource:
    """See `neuron_dashboard.source.Source`."""

    can_change = False

    def __init__(self, folders: Mapping[str, Path], now: Callable[[], float] = time.time) -> None:
        """`folders`: log directories by the names of their runs."""
        self._folders, self._now = dict(folders), now
        self._readers = {name: RunReader(folder) for name, folder in folders.items()}
        self._curves = {name: CurveReader(reader) for name, reader in self._readers.items()}
        self._configs = {name: _ConfigFile(folder / RESOLVED_CONFIG) for name, folder in folders.items()}
        self.title = ", ".join(map(_shown, self._folders.values()))

    def watch(self, show: Snapshot, stopped: threading.Event) -> None:
        """See `Source`."""
        shown: list[JobSummary] = []
        while not stopped.is_set():
            jobs = self._summaries(show if not shown else None)
            if jobs != shown:
                show(jobs)
                shown = jobs
            stopped.wait(_INTERVAL)

    def _summaries(self, show: Snapshot | None) -> list[JobSummary]:
        """Return where the runs are; `show` gets those that are summaries before a file that takes seconds."""
        summaries = {name: JobSummary(name=name, phase=PENDING, message=_BEING_READ) for name in self._folders}
        sizes = {name: _size(folder) for name, folder in self._folders.items()}
        for name in sorted(self._folders, key=lambda name: sizes[name]):
            if show is not None and sizes[name] > _LARGE:
                show(list(summaries.values()))
            summaries[name] = self._summary_or_problem(name)
        return list(summaries.values())

    def interrupt(self) -> None:
        """See `Source`; the wait of `watch` ends by itself."""

    def job(self, key: str) -> JobDetail:
        """See `Source`."""
        with self._reading(key) as folder:
            run, config = self._readers[key].read(), self._configs[key].read()
            summary = self._summary(key, run, config)
            return JobDetail(
                **summary.model_dump(),
                explanation=_explanation(summary),
                ledger=tuple(_ledger(run)),
                checkpoints=tuple(_checkpoints(folder)),
                resume=next((start.resume for start in reversed(run.starts) if start.resume), ()),
                time_shares=tuple(_shares(folder, run, summary)),
                facts=tuple(_facts(config)),
            )

    def curves(self, key: str) -> Curves:
        """See `Source`."""
        with self._reading(key):
            return self._curves[key].read()

    def log(self, key: str) -> str:
        """See `Source`."""
        self._folder(key)
        return "A run without Kubernetes writes its log to the terminal that it was started in.\n"

    def set_suspend(self, key: str, *, suspend: bool) -> str:  # noqa: ARG002
        """See `Source`."""
        raise SourceError("A run without Kubernetes is stopped with Ctrl-C, and continued by starting it again.", 405)

    def _folder(self, key: str) -> Path:
        if key not in self._folders:
            raise SourceError(f"there is no run {key} here", 404)
        return self._folders[key]

    @contextmanager
    def _reading(self, key: str) -> Iterator[Path]:
        """Yield the folder of a run; files that cannot be read become a `SourceError`."""
        folder = self._folder(key)
        try:
            _check_there(folder)
            yield folder
        except (OSError, ValueError) as problem:
            raise SourceError(_unreadable(folder, problem)) from None

    def _summary_or_problem(self, name: str) -> JobSummary:
        """Return where a run is. One that cannot be read stays in the list, and says why: the others are shown."""
        try:
            _check_there(self._folders[name])
            return self._summary(name, self._readers[name].read(), self._configs[name].read())
        except (OSError, ValueError) as problem:
            return JobSummary(name=name, phase=UNREADABLE, message=_unreadable(self._folders[name], problem))

    def _summary(self, name: str, run: RunLines, config: Mapping[str, Any]) -> JobSummary:
        last = run.recent[-1] if run.recent else None
        pace = _pace(run.recent)
        max_steps = _value(config, "trainer.max_steps")
        maximum = max_steps if isinstance(max_steps, int) and max_steps > 0 else None
        phase = self._phase(name, last, pace, maximum)
        is_running = phase == RUNNING and last is not None
        seconds_left = (maximum - last.step) * pace if is_running and last and maximum and pace else None
        again = run.starts[1:]
        return JobSummary(
            name=name,
            phase=phase,
            message=_trouble(run, last),
            step=last.step if last else 0,
            max_steps=maximum,
            loss=last.loss if last and math.isfinite(last.loss) else None,
            steps_per_second=1 / pace if is_running and pace else None,
            tokens_per_second=last.tokens_per_second if is_running and last else None,
            mfu=last.mfu if is_running and last else None,
            remaining_seconds=seconds_left,
            estimated_completion_time=_time(last.time + seconds_left) if last and seconds_left is not None else None,
            restarts=len(again),
            steps_lost=sum(start.steps_lost for start in again),
            start_time=_time(run.starts[0].time) if run.starts else None,
            last_step_time=_time(last.time) if last else None,
            is_finished=phase == SUCCEEDED,
        )

    def _phase(self, name: str, last: StepMetrics | None, pace: float | None, max_steps: int | None) -> str:
        if last is None:
            return PENDING
        if max_steps is not None and last.step >= max_steps:
            return SUCCEEDED
        if _is_released(self._folders[name]):
            return STOPPED
        return RUNNING if self._now() - last.time < max(_SILENCE, 10 * (pace or 0.0)) else STOPPED


def _shown(folder: Path) -> str:
    """Return the folder as a person would write it here."""
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def _check_there(folder: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(ENOENT, "it is no longer there", str(folder))


def _size(folder: Path) -> int:
    with suppress(OSError):
        return (folder / contract.METRICS_FILE).stat().st_size
    return 0


def _is_released(folder: Path) -> bool:
    """Return whether the newest start has said that it is over; a run that was killed says nothing."""
    with suppress(OSError):
        generation = lease.newest(folder)
        holder = generation.holder if generation else None
        return holder is not None and holder.state is lease.HolderState.RELEASED
    return False


def _trouble(run: RunLines, last: StepMetrics | None) -> str:
    """Return what a person should know of the files, as sentences; empty where nothing is wrong."""
    sentences = []
    if run.unreadable:
        sentences.append(f"{run.unreadable} lines of {contract.METRICS_FILE} cannot be read.")
    if last is not None and not math.isfinite(last.loss):
        sentences.append(f"The loss of step {last.step} is not a number.")
    return " ".join(sentences)


def _unreadable(folder: Path, problem: Exception) -> str:
    reason = getattr(problem, "strerror", None) or problem
    return f"{getattr(problem, 'filename', None) or folder} cannot be read: {reason}"


def _explanation(job: JobSummary) -> str:
    return " ".join(filter(None, (_situation(job), job.message)))


def _situation(job: JobSummary) -> str:
    match job.phase:
        case "Pending":
            return f"{job.name} has logged no step yet."
        case "Succeeded":
            return f"{job.name} has ended as configured, at step {job.step}."
        case "Stopped":
            return f"{job.name} has logged no step since step {job.step}."
    return f"{job.name} trains: step {job.step} was finished last."


def _pace(steps: Sequence[StepMetrics]) -> float | None:
    """Return the seconds of a step over the newest logged ones, as far as one start did them."""
    recent = [step for step in steps if step.start == steps[-1].start]
    if len(recent) < 2 or recent[-1].step <= recent[0].step:
        return None
    return max(0.0, recent[-1].time - recent[0].time) / (recent[-1].step - recent[0].step)


def _ledger(run: RunLines) -> Iterator[RestartView]:
    for number, start in enumerate(run.starts[1:], 1):
        yield RestartView(
            number=number,
            scope="Run",
            cause="StartedAgain",
            sentence="The run was started again.",
            time=_time(start.time),
            resumed_from_step=start.step,
            steps_lost=start.steps_lost,
        )


def _checkpoints(folder: Path) -> Iterator[CheckpointView]:
    for candidate in reversed(catalog.complete(folder / contract.CHECKPOINTS_DIR)):
        try:
            saved = (candidate.path / contract.CHECKPOINT_MARKER).stat().st_mtime
        except FileNotFoundError:
            continue  # It was removed to make room since the folder was listed.
        yield CheckpointView(step=candidate.step, path=str(candidate.path), time=_time(saved))


def _shares(folder: Path, run: RunLines, job: JobSummary) -> Iterator[TimeShare]:
    """Yield what the time from the first start on went into, largest first."""
    line = timeline_file.read(folder, [step.time for step in run.steps])
    if not line:
        yield from _estimated_shares(run, job)
        return
    seconds = timeline.total(line)
    for activity in sorted(seconds, key=lambda name: -seconds[name]):
        yield TimeShare(label=activity, seconds=seconds[activity])


def _estimated_shares(run: RunLines, job: JobSummary) -> Iterator[TimeShare]:
    """Yield the same of a run that an earlier release did, which recorded no timeline: steps at their pace, and the
    rest."""
    if job.start_time is None or job.last_step_time is None:
        return
    total = remaining = max(0.0, (job.last_step_time - job.start_time).total_seconds())
    pace = _pace(run.recent) or 0.0
    for label, seconds in (("steps that were kept", job.step * pace), ("steps done again", job.steps_lost * pace)):
        share = min(remaining, seconds)
        remaining -= share
        if share > 0:
            yield TimeShare(label=label, seconds=round(share, 3))
    if remaining > 0 and total > 0:
        yield TimeShare(label="starts, saves and pauses", seconds=round(remaining, 3))


class _ConfigFile:
    """What the newest start recorded of its configuration, parsed again only when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path, self._stamp = path, (0, 0)
        self._value: Mapping[str, Any] = {}

    def read(self) -> Mapping[str, Any]:
        """Return the configuration; empty where nothing is recorded or it cannot be read."""
        try:
            state = self._path.stat()
            stamp = state.st_mtime_ns, state.st_size
            if stamp != self._stamp:
                value = yaml.safe_load(self._path.read_bytes())
                self._value, self._stamp = value if isinstance(value, dict) else {}, stamp
        except (OSError, ValueError, yaml.YAMLError, RecursionError):
            self._value, self._stamp = {}, (0, 0)
        return self._value


def _facts(config: Mapping[str, Any]) -> Iterator[Fact]:
    for key in _SHOWN:
        value = _value(config, key)
        if value is not None:
            yield Fact(label=key, value=str(value))


def _value(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
