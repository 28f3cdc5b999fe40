"""`timeline.jsonl` in the log directory: where the time of a run went, over all of its starts.

    {"begin": 1764550000.0, "end": 1764550010.0, "seconds": {"step": 9.2, "data": 0.8}, "step": 40}

A line takes the place of what lines before it say of the time from its begin on: what a launcher does at the moment is
written before it is certain, so that little is unknown of one that is killed. What no line speaks of is idle, but for
the time up to the last logged step, in which the run trained.
"""

import json
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from neuron_api import timeline
from neuron_api.timeline import Activity, Stretch
from neuron_trainer.metrics import history
from neuron_trainer.storage import files
from neuron_trainer.storage.files import naming

TIMELINE_FILE: Final = "timeline.jsonl"


class TimelineFile:
    """Appended to by the launcher of node 0 only."""

    def __init__(self, folder: Path, guard: Callable[[], None] = lambda: None) -> None:
        """`guard` raises where the directory is no longer the run's."""
        self._path, self._guard = folder / TIMELINE_FILE, guard

    def append(self, stretches: Sequence[Stretch]) -> None:
        """Add lines in one write."""
        lines = [files.json_dumps(_body(stretch)) for stretch in stretches if stretch.end > stretch.begin]
        if lines:
            self._guard()
            with naming(self._path), self._path.open("a") as file:
                file.write("\n".join(lines) + "\n")


def _body(stretch: Stretch) -> dict[str, Any]:
    body = {"begin": stretch.begin, "end": stretch.end, "seconds": dict(stretch.seconds), "step": stretch.step}
    return {name: value for name, value in body.items() if value or name != "step"}


def read(folder: Path, step_times: Sequence[float] = ()) -> list[Stretch]:
    """Return the timeline of a run without gaps; empty where nothing is recorded.

    `step_times`: when steps were logged, in order; of a launcher that was killed they say until when it trained.
    """
    path = folder / TIMELINE_FILE
    if not path.exists():
        return []
    return [part for stretch in timeline.join(_lines(path)) for part in _trained(stretch, step_times)]


def read_run(folder: Path) -> list[Stretch]:
    """Return the timeline of a run, with what its metrics say of starts that were killed."""
    return read(folder, sorted(step.time for step in history.open_history(folder).history().steps))


def furthest_step(folder: Path) -> int:
    """Return the furthest step that any start has finished, as far as it is recorded."""
    path = folder / TIMELINE_FILE
    return max((line.step for line in _lines(path)), default=0) if path.exists() else 0


def _trained(stretch: Stretch, step_times: Sequence[float]) -> Iterator[Stretch]:
    """Yield a gap in two parts where steps were logged in it: training up to the last of them, and the rest."""
    position = bisect_left(step_times, stretch.end) - 1
    last = step_times[position] if position >= 0 else 0.0
    if set(stretch.seconds) != {Activity.IDLE} or last <= stretch.begin:
        yield stretch
        return
    last = timeline.rounded(last)
    yield Stretch(stretch.begin, last, timeline.apportion({Activity.STEP: 1.0}, last - stretch.begin))
    yield Stretch(last, stretch.end, timeline.apportion({}, stretch.end - last))


def _lines(path: Path) -> Iterator[Stretch]:
    with path.open("rb") as file:
        yield from (stretch for text in file if (stretch := parse(text)) is not None)


def parse(text: bytes) -> Stretch | None:
    """Return what a line says; None for one that was torn by a kill, or is not sound. Its seconds add up."""
    try:
        line = json.loads(text)
        begin, end, step = float(line["begin"]), float(line["end"]), int(line.get("step", 0))
        seconds = {str(name): float(value) for name, value in line["seconds"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    if not all(map(math.isfinite, (begin, end, *seconds.values()))) or not 0 <= begin < end < _END_OF_TIME:
        return None
    begin, end = timeline.rounded(begin), timeline.rounded(end)
    return Stretch(begin, end, timeline.apportion(seconds, end - begin), step)


_END_OF_TIME: Final = 1e11
"""Unix time; after the year 5000."""
