"""`neuron-train plot RUN …`: loss, learning rate, gradient norm and throughput over the steps, as a picture."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from neuron_api import contract
from neuron_api.contract import ExitCode
from neuron_trainer import metrics_file
from neuron_trainer.metrics_file import History, StepMetrics

_PANELS: Final[Sequence[tuple[str, Callable[[StepMetrics], float]]]] = (
    ("loss", lambda one: one.loss),
    ("learning rate", lambda one: one.lr),
    ("gradient norm", lambda one: one.gradient_norm),
    ("tokens per second", lambda one: one.tokens_per_second),
)


def run(folders: Sequence[Path], output: Path) -> int:
    """Log directories (or their metrics.jsonl) to one picture; its suffix says which kind. An exit code."""
    named = _named(folders)
    runs = {name: metrics_file.of_run(folder).history() for name, folder in named.items()}
    for name, history in runs.items():
        if not history.steps:
            return _refuse(f"{named[name] / contract.METRICS_FILE}: no step has been logged there")
    try:
        draw(runs).savefig(output)
    except OSError as problem:
        return _refuse(str(problem))
    except ValueError as problem:  # matplotlib: the suffix names no format
        return _refuse(f"{output}: {problem}")
    print(output)  # noqa: T201
    return int(ExitCode.SUCCESS)


def draw(runs: dict[str, History]) -> Figure:
    """Four panels that share the axis of steps; a dashed line where a run was started again, dots for validations."""
    figure = Figure(figsize=(11, 7), layout="constrained", dpi=110)
    panels = figure.subplots(2, 2, sharex=True).flat
    for (label, value), axes in zip(_PANELS, panels, strict=True):
        axes.set_ylabel(label)
        axes.grid(alpha=0.25)
        for number, (name, history) in enumerate(runs.items()):
            _line(axes, history, value, name, f"C{number}")
            if label == "loss" and history.validations:
                _validations(axes, history, f"C{number}")
    for axes in list(figure.axes)[2:]:
        axes.set_xlabel("optimizer step")
    figure.axes[0].legend(fontsize="small")
    return figure


def _line(axes: Any, history: History, value: Callable[[StepMetrics], float], name: str, colour: str) -> None:
    axes.plot([one.step for one in history.steps], [value(one) for one in history.steps], color=colour, label=name)
    again = history.starts[1:]
    for number, start in enumerate(again):
        lost = sum(one.steps_lost for one in again)
        label = f"{name}: restarted {len(again)}x, {lost} steps done again" if number == 0 else None
        axes.axvline(start.step, color=colour, linestyle="--", linewidth=1, alpha=0.7, label=label)


def _validations(axes: Any, history: History, colour: str) -> None:
    steps, losses = [one.step for one in history.validations], [one.val_loss for one in history.validations]
    axes.plot(steps, losses, "o", color=colour, markersize=4, label="validation")


def _named(folders: Sequence[Path]) -> dict[str, Path]:
    """By the last parts of their paths that tell them apart."""
    found = [path.parent if path.name == contract.METRICS_FILE else path for path in folders]
    found = list(dict.fromkeys(path.absolute() for path in found))
    for depth in range(1, max(len(path.parts) for path in found) + 1):
        names = ["/".join(path.parts[-depth:]) for path in found]
        if len(set(names)) == len(names):
            break
    return dict(zip(names, found, strict=True))


def _refuse(message: str) -> int:
    print(f"neuron-train: {message}", file=sys.stderr)  # noqa: T201
    return int(ExitCode.ERROR)
