"""What the trials say: medians for each fault and system, as a table of Markdown and as a picture."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from .lives import Fault, Trial


def cell(trials: Sequence[Trial]) -> str:
    """Return seconds (least to most) and steps lost of one fault of one system; empty without a trial."""
    if not trials:
        return ""
    seconds = sorted(trial.seconds for trial in trials if trial.seconds is not None)
    failed = len(trials) - len(seconds)
    if not seconds:
        return f"never ({failed} of {failed})"
    lost = statistics.median(trial.steps_lost or 0 for trial in trials if trial.seconds is not None)
    text = f"{statistics.median(seconds):.1f} ({seconds[0]:.1f}–{seconds[-1]:.1f}) s, {lost:.0f} steps"
    return text + (f"; never in {failed} of {len(trials)}" if failed else "")


def table(trials: Sequence[Trial]) -> list[str]:
    """Return the lines of a Markdown table: a row for each system."""
    systems = list(dict.fromkeys(trial.system for trial in trials))
    lines = ["| | " + " | ".join(Fault) + " |", "|---|" + "---|" * len(Fault)]
    for system in systems:
        cells = [cell(of(trials, system, fault)) for fault in Fault]
        lines.append(f"| {system} | " + " | ".join(cells) + " |")
    return lines


def of(trials: Sequence[Trial], system: str, fault: str) -> list[Trial]:
    return [trial for trial in trials if (trial.system, trial.fault) == (system, fault)]


def draw(trials: Sequence[Trial], path: Path) -> None:
    """Draw the medians as bars, a group for each fault; what never recovered has none."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    systems = list(dict.fromkeys(trial.system for trial in trials))
    figure, axes = pyplot.subplots(figsize=(9, 4))
    for place, system in enumerate(systems):
        heights = []
        for fault in Fault:
            seconds = [trial.seconds for trial in of(trials, system, fault) if trial.seconds is not None]
            heights.append(statistics.median(seconds) if seconds else 0.0)
        spots = [group + (place - len(systems) / 2 + 0.5) * 0.8 / len(systems) for group in range(len(Fault))]
        axes.bar(spots, heights, 0.8 / len(systems), label=system)
    axes.set_xticks(range(len(Fault)), list(Fault))
    axes.set_ylabel("seconds to the next new step")
    axes.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
