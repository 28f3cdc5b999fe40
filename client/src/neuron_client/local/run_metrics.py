"""The history of a local run: `metrics.jsonl` in its log directory, which the trainer's own reader reads."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

from neuron_api import contract
from neuron_client.metrics import MetricsRow
from neuron_trainer.metrics import history
from neuron_trainer.metrics.history import StepMetrics
from neuron_trainer.metrics.run_reader import RunLines, RunReader, Tail

INTERVAL: Final = 0.5
"""Seconds between two looks at the file."""


def rows(log_dir: Path) -> list[MetricsRow]:
    """Return the logged steps of the run as it is now: a step that was done again is there once."""
    return [_row(step) for step in history.open_history(log_dir).history().steps]


def followed(log_dir: Path, is_running: Callable[[], bool], pause: Callable[[float], None]) -> Iterator[MetricsRow]:
    """Yield the logged steps, and new ones until the run has ended; steps that are done again come again."""
    tail = Tail(log_dir / contract.METRICS_FILE)
    yielded = set[tuple[int, float]]()
    is_first = True
    while True:
        goes_on = is_running()  # before the file is read: what is written until then is in it
        if not tail.look():
            tail = Tail(log_dir / contract.METRICS_FILE)
            tail.look()
        steps = list(filter(None, (history.parse(StepMetrics, text) for text in tail.new_lines())))
        if is_first:
            steps, is_first = history.current(steps, look(log_dir).starts), False
        for step in steps:
            if (step.step, step.time) not in yielded:
                yielded.add((step.step, step.time))
                yield _row(step)
        if not goes_on:
            return
        pause(INTERVAL)


@lru_cache(maxsize=64)
def _reader(log_dir: Path) -> RunReader:
    """Return the reader of a log directory: who waits for a run looks again and again, and reads only what is new."""
    return RunReader(log_dir)


def look(log_dir: Path) -> RunLines:
    """Return the run as it is now, thinned out."""
    return _reader(log_dir).read()


def seconds_left(run: RunLines, max_steps: int | None) -> float | None:
    """Return the time to the last step at the pace of this start's newest logged steps."""
    same = [step for step in run.recent if step.start == run.recent[-1].start]
    if not max_steps or len(same) < 2 or same[-1].step <= same[0].step:
        return None
    pace = (same[-1].time - same[0].time) / (same[-1].step - same[0].step)
    return max(0.0, (max_steps - same[-1].step) * pace - (time.time() - same[-1].time))


def _row(step: StepMetrics) -> MetricsRow:
    return MetricsRow(
        step=step.step,
        loss=step.loss,
        learning_rate=step.lr,
        gradient_norm=step.gradient_norm,
        tokens_per_second=step.tokens_per_second,
        mfu=step.mfu,
        time=datetime.fromtimestamp(step.time, UTC),
        values=step.metrics,
    )
