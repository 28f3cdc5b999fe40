"""The history of a local run: `metrics.jsonl` in its log directory, which the trainer's own reader reads."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from neuron_client.metrics import MetricsRow
from neuron_trainer.metrics import history
from neuron_trainer.metrics.history import StepMetrics

INTERVAL: Final = 0.5
"""Seconds between two looks at the file."""


def rows(log_dir: Path) -> list[MetricsRow]:
    """Return the logged steps of the run as it is now: a step that was done again is there once."""
    return [_row(step) for step in history.open_history(log_dir).history().steps]


def followed(log_dir: Path, is_running: Callable[[], bool], pause: Callable[[float], None]) -> Iterator[MetricsRow]:
    """Yield the logged steps, and new ones until the run has ended; steps that are done again come again."""
    yielded = set[tuple[int, float]]()
    while True:
        goes_on = is_running()  # before the file is read: what is written until then is in it
        for step in history.open_history(log_dir).history().steps:
            if (step.step, step.time) not in yielded:
                yielded.add((step.step, step.time))
                yield _row(step)
        if not goes_on:
            return
        pause(INTERVAL)


def seconds_left(log_dir: Path, max_steps: int | None) -> float | None:
    """Return the time to the last step at the pace of this start's logged steps."""
    steps = history.open_history(log_dir).history().steps
    same = [step for step in steps if step.start == steps[-1].start]
    if not max_steps or len(same) < 2:
        return None
    pace = (same[-1].time - same[0].time) / (same[-1].step - same[0].step)
    return max(0.0, (max_steps - same[-1].step) * pace - (time.time() - same[-1].time))


def starts(log_dir: Path) -> tuple[int, int]:
    """Return how often the run was started again, and how many steps were done again."""
    records = history.open_history(log_dir).history().starts
    return max(0, len(records) - 1), sum(record.steps_lost for record in records)


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
