"""Where the time of runs went, as a picture and as a table: each column is a part of the wall time, its colours are
what was done in it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from neuron_api import timeline
from neuron_api.timeline import Activity, Stretch

COLOURS: Final[Mapping[str, str]] = {
    Activity.QUEUE: "#c7c7c7",
    Activity.PLACEMENT: "#9e9e9e",
    Activity.IMAGE: "#7f7f7f",
    Activity.START: "#aec7e8",
    Activity.RENDEZVOUS: "#c5b0d5",
    Activity.LOAD: "#9467bd",
    Activity.COMPILE: "#8c564b",
    Activity.DATA: "#e377c2",
    Activity.STEP: "#2ca02c",
    Activity.VALIDATION: "#17becf",
    Activity.SAVE: "#1f77b4",
    Activity.REWORK: "#ff7f0e",
    Activity.HANG: "#d62728",
    Activity.IDLE: "#ffbb78",
    Activity.SUSPENDED: "#eeeeee",
}
_TRAINING: Final = {Activity.STEP, Activity.REWORK}
_OTHER: Final = "#000000"
"""Of an activity of another release."""
_COLUMNS: Final = 400
_UNITS: Final = ((2 * 86400, 86400, "days"), (2 * 3600, 3600, "hours"), (300, 60, "minutes"), (0, 1, "seconds"))

Lines = Mapping[str, Sequence[Stretch]]
"""Timelines by the names of their runs."""


def draw(lines: Lines) -> Figure:
    """Return a panel for each run; a dashed line where a launcher was started again."""
    figure = Figure(figsize=(11, 1.1 + 1.7 * len(lines)), layout="constrained", dpi=110)
    panels = figure.subplots(len(lines), 1, squeeze=False)[:, 0]
    used: set[str] = set()
    for axes, (name, line) in zip(panels, lines.items(), strict=True):
        _panel(axes, name, line)
        used |= timeline.total(line).keys()
    names = [activity for activity in COLOURS if activity in used] + sorted(used - set(COLOURS))
    handles = [Patch(color=COLOURS.get(name, _OTHER), label=str(name)) for name in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=8, fontsize="small", frameon=False)
    return figure


def _panel(axes: Any, name: str, line: Sequence[Stretch]) -> None:
    begin, length = line[0].begin, line[-1].end - line[0].begin
    size, unit = next((size, unit) for least, size, unit in _UNITS if length >= least)
    for column in columns(line):
        bottom = 0.0
        for activity, seconds in timeline.add(column.seconds).items():
            share = seconds / (column.end - column.begin)
            axes.bar(
                (column.begin - begin) / size,
                share,
                (column.end - column.begin) / size,
                bottom=bottom,
                align="edge",
                color=COLOURS.get(activity, _OTHER),
                linewidth=0,
            )
            bottom += share
    for moment in restarts(line):
        axes.axvline((moment - begin) / size, color="black", linestyle="--", linewidth=1)
    axes.set_xlim(0, length / size)
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.set_xlabel(unit, fontsize="small")
    step = timeline.total(line).get(Activity.STEP, 0.0) / length
    axes.set_title(f"{name}: {step:.0%} of {length / size:.1f} {unit} in steps", fontsize="medium")


def restarts(line: Sequence[Stretch]) -> list[float]:
    """Return when training was begun again: a start after steps, which steps follow."""
    moments, begun, has_trained = list[float](), 0.0, False
    for stretch in line:
        is_start, trains = Activity.START in stretch.seconds, bool(_TRAINING & stretch.seconds.keys())
        if has_trained and is_start and Activity.SAVE not in stretch.seconds:
            begun, has_trained = stretch.begin, False
        if trains and not is_start:
            moments += [begun] if begun else []
            begun = 0.0
        if trains and not begun:  # the first start of a short run is one stretch with its steps
            has_trained = True
    return moments


def columns(line: Sequence[Stretch], count: int = _COLUMNS) -> list[Stretch]:
    """Return a timeline as at most so many columns: short neighbours become one."""
    least = (line[-1].end - line[0].begin) / count
    result: list[Stretch] = []
    for stretch in line:
        last = result[-1] if result else None
        if last is not None and last.end - last.begin < least:
            seconds = timeline.add(last.seconds, stretch.seconds)
            result[-1] = Stretch(last.begin, stretch.end, seconds, stretch.step)
        else:
            result.append(stretch)
    return result


def table(lines: Lines) -> str:
    """Return the seconds of each run by activity, with their shares, as text."""
    rows: list[str] = []
    for name, line in lines.items():
        seconds = timeline.total(line)
        rows.append(f"{name}: {line[-1].end - line[0].begin:.1f} s")
        rows += [
            f"  {activity:<11} {seconds[activity]:>10.1f} s {share:>6.1%}"
            for activity, share in timeline.shares(seconds)
        ]
    return "\n".join(rows) + "\n"
