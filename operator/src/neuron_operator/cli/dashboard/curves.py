"""Where the curves of a job on a cluster come from, best first:

1. pod 0's launcher, `GET /history` through the API server (right: get `pods/proxy`): the whole run, restarts included;
2. the log of pod 0 (get `pods/log`): a line for each logged step since this pod began; also of a job that is over,
   while its pods exist.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from pydantic import ValidationError

from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.overview import Curve, Curves
from neuron_operator.cli.live.connection import Connection
from neuron_operator.kube.errors import ClusterError, UserInputError

_STEP: Final = re.compile(r"step (\d{1,15})/(?:\d+|-)  loss (\S+)(.*)$")
_NUMBER: Final = r"(-?[\d,.]+(?:e[+-]?\d+)?)"
_FIELDS: Final = {
    "learning rate": re.compile(rf"\blr {_NUMBER}"),
    "gradient norm": re.compile(rf"\bnorm {_NUMBER}"),
    "tokens per second": re.compile(rf"{_NUMBER} tokens/s"),
}
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
    labels = ("loss", *_FIELDS)
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
        match = _STEP.search(line)
        if match is None:
            continue
        values = {"loss": _number(match[2])}
        values |= {label: _first(pattern.search, match[3]) for label, pattern in _FIELDS.items()}
        yield int(match[1]), {label: value for label, value in values.items() if value is not None}


def _first(search: Callable[[str], re.Match[str] | None], text: str) -> float | None:
    match = search(text)
    return _number(match[1]) if match else None


def _number(text: str) -> float | None:
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None
