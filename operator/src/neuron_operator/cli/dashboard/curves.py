"""Where the curves of a job on a cluster come from, best first:

1. pod 0's launcher, `GET /history` through the API server (right: get `pods/proxy`): the whole run, restarts included;
2. the log of pod 0 (get `pods/log`): a line for each logged step since this pod began; also of a job that is over,
   while its pods exist.
"""

import math
from collections.abc import Iterator
from typing import Final

from pydantic import ValidationError

from neuron_api import step_line
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.overview import Curve, Curves
from neuron_operator.cli.live.connection import Connection
from neuron_operator.kube.errors import ClusterError, UserInputError

_LABELS: Final = {
    "loss": "loss",
    "lr": "learning rate",
    "gradient_norm": "gradient norm",
    "tokens_per_second": "tokens per second",
}
"""Labels of curves, by the values of a step's line."""
_BEGINNING: Final = "1970-01-01T00:00:00Z"


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
    log = connection.log(pod, _BEGINNING)
    return from_log(log, pod) if log else None


def from_log(log: str, pod: str) -> Curves:
    """Return the curves that the lines of logged steps give; a step that was done again counts as done last."""
    rows = dict(_rows(log))
    steps = tuple(sorted(rows))
    labels = tuple(_LABELS.values())
    curves = (
        Curve(label=label, values=tuple(rows[step].get(label) for step in steps), has_zero=label != "loss")
        for label in labels
    )
    return Curves(
        origin=f"log of pod {pod}",
        steps=steps,
        logged=len(steps),
        curves=tuple(curve for curve in curves if any(value is not None for value in curve.values)),
    )


def _rows(log: str) -> Iterator[tuple[int, dict[str, float]]]:
    for line in log.splitlines():
        step = step_line.parse(line)
        if step is None:
            continue
        values = {label: step.values[name] for name, label in _LABELS.items() if name in step.values}
        yield step.step, {label: value for label, value in values.items() if math.isfinite(value)}
