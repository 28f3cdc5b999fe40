"""`neuron-train plot RUN …`: loss, learning rate, gradient norm, throughput, and the metrics of pairs where a run has
them, over the steps, as a picture; or with `--timeline` where the time went."""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from neuron_api import contract
from neuron_api.contract import ExitCode
from neuron_api.metrics import PREFERENCE_METRICS, PreferenceMetric
from neuron_trainer.data.paths import exists
from neuron_trainer.metrics import history as metrics_file
from neuron_trainer.metrics.history import History, StepMetrics, ValidationMetrics, folders_by_name
from neuron_trainer.metrics.timeline import timeline_file

from . import timeline_picture


@dataclass(frozen=True, slots=True)
class _Panel:
    label: str
    value: Callable[[StepMetrics], float | None]
    validated: Callable[[ValidationMetrics], float | None] = lambda _: None
    """The same of a validation."""
    is_smoothed: bool = True
    """Whether single steps are too noisy to see a course."""
    has_zero: bool = True
    """Whether the axis begins at 0: amounts do, a loss has no meaningful zero."""


_PANELS: Final = (
    _Panel("loss", lambda step: step.loss, lambda line: line.val_loss, has_zero=False),
    _Panel("learning rate", lambda step: step.lr, is_smoothed=False),
    _Panel("gradient norm", lambda step: step.gradient_norm),
    _Panel("tokens per second", lambda step: step.tokens_per_second),
)
_MIN_STEPS: Final = 20
"""Logged steps from which a smoothed line is drawn over the raw one."""
_PART: Final = 25
"""The smoothed line is a mean over such a part of the run, weights falling with the distance."""
_LONG: Final = 50
"""Characters from which labels stand one below the other."""


def run(folders: Sequence[Path], output: Path, *, is_timeline: bool = False) -> int:
    """Log directories (or their metrics.jsonl) to one picture; its suffix says which kind. An exit code.

    `is_timeline`: of where the time went, in place of the curves.
    """
    named = folders_by_name(folders)
    if is_timeline:
        return _run_timeline(named, output)
    runs = {name: metrics_file.open_history(folder).history() for name, folder in named.items()}
    for name, history in runs.items():
        if not exists(named[name]):
            return _refuse(
                f"there is no directory {named[name]}. Give the log directory of a run, or its metrics file."
            )
        if not history.steps:
            return _refuse(f"{named[name] / contract.METRICS_FILE}: it has no logged step")
    return _save(draw(runs), output)


def _run_timeline(named: dict[str, Path], output: Path) -> int:
    lines = {name: timeline_file.read_run(folder) for name, folder in named.items()}
    for name, line in lines.items():
        if not line:
            return _refuse(
                f"there is no {named[name] / timeline_file.TIMELINE_FILE}. Give the log directory of a run of this "
                "release, or draw its curves without --timeline."
            )
    print(timeline_picture.table(lines), end="")  # noqa: T201
    return _save(timeline_picture.draw(lines), output)


def _save(figure: Figure, output: Path) -> int:
    try:
        figure.savefig(output)
    except FileNotFoundError:
        return _refuse(f"there is no directory {output.absolute().parent}. Create it, or write elsewhere with -o.")
    except OSError as problem:
        print(f"neuron-train: {output}: {problem.strerror}", file=sys.stderr)  # noqa: T201
        return int(ExitCode.ERROR)
    except ValueError as problem:  # matplotlib: the suffix names no format
        return _refuse(f"{output}: {problem}")
    print(output)  # noqa: T201
    return int(ExitCode.SUCCESS)


def draw(runs: dict[str, History]) -> Figure:
    """Panels that share the axis of steps, four and one for each metric of pairs; a dashed line where a run was started
    again, dots for validations."""
    panels = (*_PANELS, *_metric_panels(runs))
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(11, 3.75 * rows), layout="constrained", dpi=110)
    figure.suptitle(_title(runs), fontsize="large")
    places = list(figure.subplots(rows, 2, sharex=True).flat)
    for unused in places[len(panels) :]:
        figure.delaxes(unused)
    for panel, axes in zip(panels, places, strict=False):
        axes.set_ylabel(panel.label)
        axes.grid(alpha=0.25)
        for number, (name, history) in enumerate(runs.items()):
            _line(axes, history, panel, name, f"C{number}")
            _validations(axes, history, panel, name, f"C{number}")
        if panel.has_zero:
            axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    for axes in figure.axes[-2:]:
        axes.set_xlabel("optimizer step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure)
    return figure


def _metric_panels(runs: dict[str, History]) -> list[_Panel]:
    """A panel for each metric that some run has; DPO has four and ORPO six."""
    names = {name for history in runs.values() for step in history.steps for name in step.metrics}
    return [_metric_panel(metric) for metric in PREFERENCE_METRICS if metric.name in names]


def _metric_panel(metric: PreferenceMetric) -> _Panel:
    def value(step: StepMetrics) -> float | None:
        return step.metrics.get(metric.name)

    def validated(line: ValidationMetrics) -> float | None:
        return line.metrics.get(f"val_{metric.name}")

    return _Panel(metric.label, value, validated, has_zero=metric.name == "rewards_accuracy")


def _title(runs: dict[str, History]) -> str:
    """The run with its last step and loss, or how many runs are compared."""
    if len(runs) > 1:
        return f"{len(runs)} runs"
    (name, history), last = next(iter(runs.items())), next(iter(runs.values())).steps[-1]
    loss = f", loss {last.loss:.4g}" if last.loss is not None else ""
    return f"{name}: step {last.step}{loss}{', restarted' if len(history.starts) > 1 else ''}"


def _legend(figure: Figure) -> None:
    """Below the panels, where it covers no curve."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    columns = 1 if any(len(label) > _LONG for label in labels) else min(len(labels), 3)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize="small", frameon=False)


def _line(axes: Any, history: History, panel: _Panel, name: str, colour: str) -> None:
    """The steps as they were logged; where they are many and noisy a smoothed line over them, which has the name."""
    steps = [line.step for line in history.steps]
    values = [_number(panel.value(line)) for line in history.steps]
    is_smoothed = panel.is_smoothed and len(values) >= _MIN_STEPS
    raw = {"alpha": 0.3, "linewidth": 1} if is_smoothed else {"label": name}
    axes.plot(steps, values, color=colour, **raw)
    if is_smoothed:
        span = max(2, len(values) // _PART)
        axes.plot(steps, smoothed(values, span), color=colour, label=f"{name} (mean over about {span} steps)")
    again = history.starts[1:]
    for number, start in enumerate(again):
        lost = sum(restart.steps_lost for restart in again)
        label = f"{name}: restarted {len(again)}x, {lost} steps done again" if number == 0 else None
        axes.axvline(start.step, color=colour, linestyle="--", linewidth=1, alpha=0.7, label=label)


def smoothed(values: Sequence[float], span: int) -> list[float]:
    """The exponential mean of what came before, with the centre of mass of a mean over `span` values; without the bias
    of its start. A value that is no number leaves a gap and does not count."""
    keep, total, weight, result = 1 - 2 / (span + 1), 0.0, 0.0, []
    for value in values:
        if math.isfinite(value):
            total, weight = keep * total + value, keep * weight + 1
        result.append(total / weight if math.isfinite(value) else math.nan)
    return result


def _number(value: float | None) -> float:
    """A gap where a step has no number."""
    return math.nan if value is None else value


def _validations(axes: Any, history: History, panel: _Panel, name: str, colour: str) -> None:
    values = {line.step: value for line in history.validations if (value := panel.validated(line)) is not None}
    if values:
        axes.plot(list(values), list(values.values()), "o", color=colour, markersize=4, label=f"{name}: validation")


def _refuse(message: str) -> int:
    print(f"neuron-train: {message}", file=sys.stderr)  # noqa: T201
    return int(ExitCode.CONFIG)
