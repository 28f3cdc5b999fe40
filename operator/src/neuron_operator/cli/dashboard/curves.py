"""Where the curves of a job on a cluster come from, best first:

1. pod 0's launcher, `GET /history` through the API server (right: get `pods/proxy`): the whole run, restarts included;
2. the log of pod 0 (get `pods/log`): a line for each logged step since this pod began; also of a job that is over,
   while its pods exist.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from neuron_api import step_line
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.overview import Curve, Curves
from neuron_api.thinning import ThinnedSeries
from neuron_operator.cli.live.connection import Connection
from neuron_operator.kube.errors import ClusterError, UserInputError

_LABELS: Final = {
    "loss": "loss",
    "lr": "learning rate",
    "gradient_norm": "gradient norm",
    "tokens_per_second": "tokens per second",
}
"""Labels of curves, by the values of a step's line."""
_LOSS: Final = _LABELS["loss"]


def read(connection: Connection, job: NeuronTrainingJob) -> Curves:
    """Return the curves; empty ones say why in `origin`."""
    host = next(iter(job.status.pods), None)
    if host is None:
        return Curves(origin="No pod of this job exists: the curves are in the metrics.jsonl of its log directory.")
    reasons: list[str] = []
    for source in (_from_launcher, _from_log):
        try:
            curves = source(connection, host.name)
        except (ClusterError, UserInputError) as problem:
            reasons.append(str(problem))
            continue
        if curves is not None and curves.steps:
            return curves
    return Curves(origin=" ".join(["No step has been logged yet, or the pod does not answer.", *reasons]))


def _from_launcher(connection: Connection, pod: str) -> Curves | None:
    answer = connection.history(pod)
    try:
        return Curves.model_validate_json(answer) if answer else None
    except ValidationError:
        return None  # Not the launcher of this release.


def _from_log(connection: Connection, pod: str) -> Curves | None:
    lines = connection.log_lines(pod)
    return from_log(lines, pod) if lines is not None else None


def from_log(lines: Iterable[str], pod: str) -> Curves:
    """Return the curves that the lines of logged steps give, thinned out; a step that was done again counts as done
    last."""
    series = ThinnedSeries[_Row](lambda row: row.step, lambda row: row.values.get(_LOSS, math.nan))
    for row in _rows(lines):
        series.add(row)
    rows = series.lines()
    curves = (
        Curve(label=label, values=tuple(row.values.get(label) for row in rows), has_zero=label != _LOSS)
        for label in _LABELS.values()
    )
    return Curves(
        origin=f"log of pod {pod}",
        steps=tuple(row.step for row in rows),
        logged=series.count,
        curves=tuple(curve for curve in curves if any(value is not None for value in curve.values)),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """A logged step."""

    step: int
    values: Mapping[str, float]
    """By label, as far as they are finite."""


def _rows(lines: Iterable[str]) -> Iterator[_Row]:
    for line in lines:
        step = step_line.parse(line)
        if step is None:
            continue
        values = {label: step.values[name] for name, label in _LABELS.items() if name in step.values}
        yield _Row(step.step, {label: value for label, value in values.items() if math.isfinite(value)})
