"""The history of a run as curves of a bounded length: what `/history` and `neuron-train dashboard` show."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from neuron_api import contract
from neuron_api.metrics import PREFERENCE_METRICS
from neuron_api.resource.overview import Curve, Curves, Point, StartView

from .history import STARTS_FILE, VALIDATIONS_FILE, History, StepMetrics, open_history

MAX_POINTS: Final = 1_200
"""Points of a curve: more than a screen has columns for."""

Value = Callable[[StepMetrics], float | None]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number of a step that is drawn."""

    label: str
    value: Value
    has_zero: bool = True


QUANTITIES: Final = (
    Quantity("loss", lambda step: step.loss, has_zero=False),
    Quantity("learning rate", lambda step: step.lr),
    Quantity("gradient norm", lambda step: step.gradient_norm),
    Quantity("tokens per second", lambda step: step.tokens_per_second),
    Quantity("model FLOPs utilization", lambda step: step.mfu),
)


def curves(history: History, points: int = MAX_POINTS) -> Curves:
    """Return the curves that the run has values for."""
    steps = thinned(history.steps, points)
    return Curves(
        origin=f"{contract.METRICS_FILE} of the run",
        steps=tuple(step.step for step in steps),
        logged=len(history.steps),
        curves=tuple(_curves(steps)),
        validations=tuple(Point(step=line.step, value=_finite(line.val_loss)) for line in history.validations),
        starts=tuple(
            StartView(step=start.step, steps_lost=start.steps_lost, time=start.time) for start in history.starts
        ),
    )


def thinned(steps: Sequence[StepMetrics], points: int) -> Sequence[StepMetrics]:
    """Return at most so many steps: of each stretch those with the least and the greatest loss, so that no spike is
    lost, and the last one of all."""
    if len(steps) <= points:
        return steps
    stretches = max(1, (points - 1) // 2)
    size = -(-len(steps) // stretches)
    chosen: dict[int, StepMetrics] = {}
    for begin in range(0, len(steps), size):
        stretch = sorted(steps[begin : begin + size], key=_order)
        for step in sorted((stretch[0], stretch[-1]), key=lambda step: step.step):
            chosen[step.step] = step
    chosen[steps[-1].step] = steps[-1]
    return list(chosen.values())


class CurveReader:
    """Reads the curves of one log directory, again only when its files have changed; for many threads."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, Lock()
        self._stamp: tuple[object, ...] = ()
        self._curves = Curves()

    def read(self) -> Curves:
        """Return the curves as the files are now."""
        with self._lock:
            stamp = tuple(map(_stamp, self._files()))
            if stamp != self._stamp:
                self._curves, self._stamp = curves(open_history(self._folder).history()), stamp
            return self._curves

    def _files(self) -> Iterator[Path]:
        yield from (self._folder / name for name in (contract.METRICS_FILE, VALIDATIONS_FILE, STARTS_FILE))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns


def _curves(steps: Sequence[StepMetrics]) -> Iterator[Curve]:
    names = {name for step in steps for name in step.metrics}
    preferences = (
        Quantity(metric.label, _metric(metric.name), has_zero=metric.name == "rewards_accuracy")
        for metric in PREFERENCE_METRICS
        if metric.name in names
    )
    for quantity in (*QUANTITIES, *preferences):
        values = tuple(_finite(quantity.value(step)) for step in steps)
        if any(value is not None for value in values):
            yield Curve(label=quantity.label, values=values, has_zero=quantity.has_zero)


def _metric(name: str) -> Value:
    return lambda step: step.metrics.get(name)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _order(step: StepMetrics) -> float:
    """Return the loss; one that is not finite is the greatest."""
    return step.loss if math.isfinite(step.loss) else math.inf
