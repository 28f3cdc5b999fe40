"""The history of a run as curves of a bounded length: what `/history` and `neuron-train dashboard` show."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final

from neuron_api import contract
from neuron_api.metrics import PREFERENCE_METRICS
from neuron_api.resource.overview import Curve, Curves, Point, StartView

from .history import StepMetrics
from .run_reader import RunLines, RunReader

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


def curves(run: RunLines) -> Curves:
    """Return the curves that the run has values for."""
    return Curves(
        origin=f"{contract.METRICS_FILE} of the run",
        steps=tuple(step.step for step in run.steps),
        logged=run.logged,
        curves=tuple(_curves(run.steps)),
        validations=tuple(Point(step=line.step, value=_finite(line.val_loss)) for line in run.validations),
        starts=tuple(StartView(step=start.step, steps_lost=start.steps_lost, time=start.time) for start in run.starts),
    )


class CurveReader:
    """The curves of one run, worked out again only when its files have changed; for many threads."""

    def __init__(self, reader: RunReader) -> None:
        self._reader, self._lock = reader, Lock()
        self._run: RunLines | None = None
        self._curves = Curves()

    def read(self) -> Curves:
        """Return the curves as the files are now. Raises `OSError`."""
        with self._lock:
            run = self._reader.read()
            if run is not self._run:
                self._curves, self._run = curves(run), run
            return self._curves


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
