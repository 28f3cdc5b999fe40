"""The log of a job's node across its pods, and the steps in it.

A cluster keeps no history of metrics: the status has the newest step, and `metrics.jsonl` is on the job's volume, which
this machine does not see. The log of the pod with rank 0 has a line for each logged step, and stays when the pod has
ended; lines of pods that were replaced are gone with them.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from neuron_api import step_line
from neuron_operator.cli.live import job_snapshot
from neuron_operator.cli.live.connection import Connection
from neuron_operator.planning.observation import pods
from neuron_operator.planning.observation.observation import Pod

from .errors import RequestError
from .metrics import MetricsRow

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
    until the job is over."""
    finished, read, last = set[str](), "", ""
    while True:
        is_over, pod = _look(connection, name, node)
        text = None
        if pod is not None and pod.uid not in finished:
            text = connection.log_lines(pod.name, follow=follow and not is_over, tail=tail)
        if pod is not None and text is not None:
            read, last = pod.uid, last if pod.uid == read else ""
            for line in _after(text, last):
                last = line
                yield line
            if pod.succeeded or pod.failed or not follow:
                finished.add(pod.uid)
        if not follow or is_over:
            return
        tail = None
        pause(INTERVAL)


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


def _after(text: Iterator[str], last: str) -> Iterator[str]:
    """Yield the lines behind one that was read before a connection was lost; all, where there was none."""
    is_new = not last
    for line in text:
        if is_new:
            yield line
        is_new = is_new or line == last


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
