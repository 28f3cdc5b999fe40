"""What a person sees of the steps: a live line on a terminal, one line per logged step anywhere else."""

import logging
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from neuron_api import step_line
from neuron_api.metrics import PREFERENCE_METRICS

from .history import StepMetrics

if TYPE_CHECKING:
    from rich.live import Live

log = logging.getLogger(__name__)

_GAP: Final = step_line.GAP
_QUIET: Final = 10.0
"""Seconds between two lines of the log about a pass."""
_MIN_BAR, _MAX_BAR = 10, 40
"""Columns of the bar; it is left out where fewer remain."""
_SHOWN: Final = {metric.name: metric.short for metric in PREFERENCE_METRICS if metric.short}
_IMPORTANCE: Final = ("count", "eta", "loss", "rewards_accuracy", "speed", "lr", "norm", *_SHOWN, "mfu")
"""Parts of the line, those that a narrow terminal shows first."""


class StepDisplay:
    """Used by global rank 0 only."""

    def __init__(self, done: int, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`done` steps of `total`; -1 where no number of steps is configured. `clock` counts seconds."""
        self._done, self._total, self._clock = done, total, clock
        self._begun = clock()
        self._live: Live | None = None
        if sys.stderr.isatty():
            self._live = _live()
            self._live.start()
            self._draw(done, {})

    def show(self, metrics: StepMetrics) -> None:
        """A logged step."""
        parts = _parts(metrics)
        if self._live is not None:
            self._draw(metrics.step, parts)
        else:
            log.info("%s", _GAP.join((step_line.head(metrics.step, self._total), *parts.values())))

    def close(self) -> None:
        """Leave the line as it is."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self, step: int, parts: dict[str, str]) -> None:
        assert self._live is not None
        count = f"{step}/{self._total}" if self._total > 0 else f"step {step}"
        eta = self._eta(step)
        line = _Line(step, self._total, {"count": count, **({"eta": eta} if eta else {}), **parts})
        self._live.update(line, refresh=True)

    def _eta(self, step: int) -> str:
        """Time to the last step at the pace of this start; empty before the first step."""
        if step <= self._done or self._total <= 0:
            return ""
        seconds = (self._clock() - self._begun) / (step - self._done) * max(self._total - step, 0)
        return f"{timedelta(seconds=round(seconds))} left"


class PassDisplay:
    """A pass over the data before the first step: a bar on a terminal, a line of the log at most every `_QUIET` seconds
    anywhere else. Used by global rank 0 only."""

    def __init__(self, name: str, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`total` samples."""
        self._name, self._total, self._clock = name, total, clock
        self._first: tuple[int, float] | None = None
        self._logged = -_QUIET
        self._live: Live | None = None
        if sys.stderr.isatty():
            self._live = _live()
            self._live.start()

    def show(self, done: int) -> None:
        """So many samples are done."""
        now = self._clock()
        self._first = self._first or (done, now)
        parts = {"count": f"{self._name} {done}/{self._total}"}
        if done > self._first[0]:
            seconds = (now - self._first[1]) / (done - self._first[0]) * (self._total - done)
            parts["eta"] = f"{timedelta(seconds=round(seconds))} left"
        if self._live is not None:
            self._live.update(_Line(done, self._total, parts), refresh=True)
        elif done == self._total or now - self._logged >= _QUIET:
            self._logged = now
            log.info("%s", _GAP.join(parts.values()))

    def close(self) -> None:
        """Leave the line as it is."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _parts(metrics: StepMetrics) -> dict[str, str]:
    """The numbers of a step, in the order in which they are shown."""
    values = {
        "loss": metrics.loss,
        "lr": metrics.lr,
        "gradient_norm": metrics.gradient_norm,
        "tokens_per_second": metrics.tokens_per_second,
        "mfu": metrics.mfu,
        **metrics.metrics,
    }
    return step_line.parts(values)


def validation_text(metrics: Mapping[str, float]) -> str:
    """Return what follows the loss in the line of a validation."""
    return "".join(f"{_GAP}{name} {value:.4g}" for name, value in metrics.items())


def fitting(parts: dict[str, str], width: int) -> tuple[list[str], int]:
    """The parts that a line of so many columns has room for, and the columns that remain: most important ones first,
    and none after the first that does not fit."""
    chosen, room = set[str](), width
    for name in (name for name in _IMPORTANCE if name in parts):
        needed = len(parts[name]) + (len(_GAP) if chosen else 0)
        if needed > room:
            break
        chosen.add(name)
        room -= needed
    return [text for name, text in parts.items() if name in chosen], room


class _Line:
    """A renderable of rich: the width is asked at each drawing, since a window may change its size."""

    def __init__(self, step: int, total: int, parts: dict[str, str]) -> None:
        self._step, self._total, self._parts = step, total, parts

    def __rich_console__(self, console: Any, options: Any) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        texts, room = fitting(self._parts, options.max_width - 1)
        cells: list[Any] = [_GAP.join(texts)]
        bar = min(room - len(_GAP), _MAX_BAR)
        if bar >= _MIN_BAR and self._total > 0:
            cells.insert(0, ProgressBar(total=self._total, completed=self._step, width=bar))
        grid = Table.grid(padding=(0, len(_GAP), 0, 0), pad_edge=False)
        for _ in cells:
            grid.add_column(no_wrap=True)
        grid.add_row(*cells)
        yield grid


def _live() -> "Live":
    """Imported here: most runs have no terminal, and a start waits for each import.

    While it lives `sys.stderr` prints above it: lines of the log leave no copy of the bar behind.
    """
    from rich.console import Console
    from rich.live import Live

    # auto_refresh False: no thread in the worker; every step refreshes.
    return Live(console=Console(stderr=True), auto_refresh=False, redirect_stdout=False)
