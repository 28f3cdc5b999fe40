"""The log of a job's node across its pods, and the steps in it.

A cluster keeps no history of metrics: the status has the newest step, and `metrics.jsonl` is on the job's volume, which
this machine does not see. The log of the pod with rank 0 has a line for each logged step, and stays when the pod has
ended; lines of pods that were replaced are gone with them.
"""

import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from neuron_api import step_line
from neuron_operator.cli.live import job_snapshot
from neuron_operator.cli.live.connection import Connection
from neuron_operator.kube.errors import UnreachableError
from neuron_operator.planning.observation import pods
from neuron_operator.planning.observation.observation import Pod

from .errors import RequestError
from .metrics import MetricsRow

log = logging.getLogger(__name__)

INTERVAL: Final = 2.0
"""Seconds between two looks for a pod that has a log."""


def lines(
    connection: Connection,
    name: str,
    node: int,
    pause: Callable[[float], None],
    *,
    follow: bool = False,
    tail: int | None = None,
) -> Iterator[str]:
    """Yield the lines of the newest pod of this node, each with its time; with `follow` also those of its successors,
    until the job is over. With `follow` an API server that has answered once is asked again when it gives no answer."""
    finished, place, has_answered = set[str](), _Place(), False
    while True:
        try:
            is_over, pod = _look(connection, name, node)
            has_answered = True
            if pod is not None and pod.uid not in finished:
                place = place if pod.uid == place.pod else _Place(pod.uid)
                is_followed = follow and not is_over
                text = connection.log_lines(pod.name, follow=is_followed, tail=tail, since=place.since)
                yield from place.new_lines(text or iter(()))
                if text is not None and (pod.succeeded or pod.failed or not follow):
                    finished.add(pod.uid)
            if not follow or is_over:
                return
            tail = None
        except UnreachableError as problem:
            if not (follow and has_answered):
                raise
            log.warning("the log of %s is waited for still: %s", name, problem)
        pause(INTERVAL)


class _Place:
    """How far the log of a pod has been read: to a time, and to one of the lines of that time."""

    def __init__(self, pod: str = "") -> None:
        self.pod = pod
        self.since: str | None = None
        """Time of the last line, as it was written."""
        self._time: datetime | None = None
        self._count = 0
        """Lines of that time that were read."""

    def new_lines(self, text: Iterator[str]) -> Iterator[str]:
        """Yield the lines behind those that were read before a connection was lost. The last one may be rotated out
        since, so it is the time that counts; a line without one belongs to the line before it."""
        repeated, until, moment = self._count, self._time, None
        for line in text:
            stamp = line.partition(" ")[0]
            moment = _time(stamp) or moment
            if until is not None and moment is not None:
                if moment < until:
                    continue
                if moment == until and repeated > 0:
                    repeated -= 1
                    continue
            self._count = self._count + 1 if moment == self._time else 1
            if moment is not None and moment != self._time:
                self._time, self.since = moment, stamp
            yield line


def metrics_row(line: str) -> MetricsRow | None:
    """Return the step that a line with its time is about; None for any other line."""
    moment, _, text = line.partition(" ")
    step = step_line.parse(text)
    if step is None:
        return None
    return MetricsRow(
        step=step.step,
        loss=step.values["loss"],
        learning_rate=step.values.get("lr"),
        gradient_norm=step.values.get("gradient_norm"),
        tokens_per_second=step.values.get("tokens_per_second"),
        mfu=step.values.get("mfu"),
        time=_time(moment),
        values={key: value for key, value in step.values.items() if key not in step_line.COMMON},
    )


def _look(connection: Connection, name: str, node: int) -> tuple[bool, Pod | None]:
    """Return whether the job is over, and the newest pod of this node."""
    job = job_snapshot.parse_job(connection.job(name))
    shape = job.status.topology
    if node < 0 or (shape is not None and node >= shape.nodes):
        count = f"0 to {shape.nodes - 1}" if shape else "0 and more"
        raise RequestError(f"{name} has nodes {count}, not {node}")
    listed = (pods.read(body) for body in connection.pods(name) if pods.owner_uid(body) == job.metadata.uid)
    own = [pod for pod in listed if pod is not None and pod.index == node]
    return job.status.finished, max(own, key=lambda pod: pod.attempt, default=None)


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
