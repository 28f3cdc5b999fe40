"""What a person sees of the steps: a live bar on a terminal, one line per logged step anywhere else."""

import logging
import sys
from typing import TYPE_CHECKING

from .metrics_file import StepMetrics

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

log = logging.getLogger(__name__)


class StepDisplay:
    """Used by global rank 0 only."""

    def __init__(self, done: int, total: int) -> None:
        self._total = total
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            self._bar, self._task = _bar(done, total)
            self._bar.start()

    def show(self, metrics: StepMetrics) -> None:
        """A logged step."""
        text = (
            f"loss {metrics.loss:.4f}  lr {metrics.lr:.3g}  norm {metrics.gradient_norm:.3f}  "
            f"{metrics.tokens_per_second:,.0f} tokens/s"
        )
        if metrics.mfu is not None:
            text += f"  mfu {metrics.mfu:.1%}"
        if self._bar is not None:
            self._bar.update(self._task, completed=metrics.step, text=text, refresh=True)
        else:
            log.info("step %d/%s  %s", metrics.step, self._total if self._total > 0 else "-", text)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar(done: int, total: int) -> "tuple[Progress, TaskID]":
    """Imported here: most runs have no terminal, and a start waits for each import."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    # auto_refresh False: no thread in the worker; every step refreshes.
    bar = Progress(
        TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(), console=Console(stderr=True), auto_refresh=False,
    )  # fmt: skip
    return bar, bar.add_task("", total=total if total > 0 else None, completed=done, text="")
