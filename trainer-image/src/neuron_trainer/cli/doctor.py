"""`neuron-train doctor`: one line for each check, with its remedy; exit code 1 if one failed."""

import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from neuron_api.contract import ExitCode
from neuron_trainer.doctor import checkup, machine, report, trials
from neuron_trainer.doctor.arguments import NAMES
from neuron_trainer.doctor.machine import Machine
from neuron_trainer.doctor.result import Outcome, Result, unknown
from neuron_trainer.doctor.trials import Trial
from neuron_trainer.launcher import device_environment

_CACHE: Final = "TORCH_NEURONX_NEFF_CACHE_DIR"
_AGAIN: Final = "Run it again to the end, or look only with --no-trials."
_NO_DEVICE: Final = "With --processes N the devices are used all the same."
_NO_TRIALS: Final = "Without --no-trials the devices are used, too."


@dataclass(frozen=True, slots=True)
class DoctorRequest:
    """What was asked for on the command line."""

    accelerator: str
    processes: int | None
    """Of the collective; None: as many as there are logical cores, 2 without any."""
    seconds: float
    """Of each trial."""
    has_trials: bool
    cache: Path
    report: Path | None


def run(request: DoctorRequest) -> int:
    """Print the lines as they come, write the report, and return the exit code."""
    if request.accelerator not in NAMES:
        listed = ", ".join(NAMES)
        print(f"neuron-train: no accelerator {request.accelerator!r}; use one of {listed}", file=sys.stderr)  # noqa: T201
        return int(ExitCode.CONFIG)
    if request.report is not None and (problem := _try_to_write(request.report)):
        print(f"neuron-train: --report {request.report}: {problem}", file=sys.stderr)  # noqa: T201
        return int(ExitCode.CONFIG)
    facts = machine.read(request.accelerator, request.cache)
    results, made = [], {}
    for result in checkup.examine(facts):
        results.append(result)
        _print(result)
    try:
        for name, trial in _trials(request, facts):
            made[name] = trial
            for result in checkup.judge({name: trial}):
                results.append(result)
                _print(result)
    except KeyboardInterrupt:
        results.append(unknown("trials", "interrupted", _AGAIN))
        _print(results[-1])
    if not made and results[-1].check != "trials":
        reason, remedy = ("no device is there", _NO_DEVICE) if request.has_trials else ("none was made", _NO_TRIALS)
        results.append(unknown("trials", reason, remedy))
        _print(results[-1])
    if request.report is not None:
        request.report.write_text(report.render(results, facts, made, as_json=report.is_json(request.report)))
    failures = sum(result.outcome is Outcome.FAILED for result in results)
    print(f"{len(results)} checks, {failures} failed.")  # noqa: T201
    return int(ExitCode.ERROR if failures else ExitCode.SUCCESS)


def _trials(request: DoctorRequest, here: Machine) -> Iterator[tuple[str, Trial]]:
    """Make the trials; the devices are not touched where there are none."""
    if not request.has_trials or (request.accelerator != "cpu" and not (here.device_files or request.processes)):
        return
    cache = _cache(request.cache)
    device_environment.name_user(os.environ)
    variables = {
        device_environment.AUTOLOAD: "0",
        **{
            name: os.environ.get(name, value)
            for name, value in device_environment.variables(request.accelerator, cache, cache, 0)
        },
    }
    for name in checkup.trial_names(request.accelerator):
        count = _processes(request, here) if name == "collective" else 1
        yield name, trials.run(name, request.accelerator, count, request.seconds, variables)


def _cache(folder: Path) -> Path:
    """Return where the trials keep what they compile; a temporary directory where that cannot be written."""
    chosen = Path(os.environ.get(_CACHE) or folder)
    return chosen if machine.place(chosen).is_writable else Path(tempfile.gettempdir(), "neuron-doctor-cache")


def _processes(request: DoctorRequest, here: Machine) -> int:
    if request.processes is not None:
        return request.processes
    return min(here.logical_cores or 2, checkup.MAX_PROCESSES)


def _try_to_write(path: Path) -> str:
    """Return why a file cannot be written; empty if it can."""
    try:
        path.open("a").close()
    except OSError as problem:
        return problem.strerror or str(problem)
    return ""


def _print(result: Result) -> None:
    print(result, flush=True)  # noqa: T201
