"""The log of a node across its pods: followed from pod to pod, never a line twice, and the steps that it holds."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from neuron_api import contract
from neuron_client import RequestError, pod_logs
from neuron_operator.kube.errors import UnreachableError

Json = dict[str, Any]
UID = "6a1f"


def line(second: int, text: str) -> str:
    return f"2026-11-30T12:00:{second:02d}.5Z {text}"


class FakeConnection:
    """A cluster of one job. Each look may be changed by a step of the story; a log is served only of a pod whose
    container has started, and followed only while the pod exists, as the kubelet has it."""

    def __init__(self) -> None:
        self.phase = "Running"
        self.logs: dict[str, list[str] | None] = {}
        self.ended: dict[str, int] = {}
        self.attempts: dict[str, int] = {}
        self.asked: list[tuple[str, bool, int | None]] = []
        self.is_away = False

    def replace(self, old: str, new: str, lines: list[str]) -> None:
        """A pod is deleted, and its successor has written these lines."""
        del self.logs[old]
        self.logs[new], self.attempts[new] = list(lines), self.attempts[old] + 1

    def job(self, name: str) -> Json:
        if self.is_away:
            raise UnreachableError("the API server answers 503")
        topology = {"nodes": 2, "processesPerNode": 1, "worldSize": 2, "tensorParallel": 1, "dataParallel": 2}
        metadata = {"name": name, "namespace": "team", "uid": UID}
        status = {"phase": self.phase, "topology": {**topology, "microBatches": 1}}
        return {"metadata": metadata, "spec": {}, "status": status}

    def pods(self, job: str) -> list[Json]:
        return [self._pod(job, name) for name in self.logs]

    def log_lines(
        self, pod: str, *, follow: bool = False, tail: int | None = None, since: str | None = None
    ) -> Iterator[str] | None:
        self.asked.append((pod, follow, tail))
        lines = self.logs[pod]
        second = since.partition(".")[0] if since else ""
        return None if lines is None else (text for text in lines if text >= second)

    def _pod(self, job: str, name: str) -> Json:
        labels = {contract.LABEL_ATTEMPT: str(self.attempts.get(name, 0)), contract.LABEL_NODE_RANK: "0"}
        state: Json = {"running": {}}
        if name in self.ended:
            state = {"terminated": {"exitCode": self.ended[name]}}
        owner = [{"controller": True, "uid": UID}]
        metadata = {"name": name, "uid": name, "labels": labels, "ownerReferences": owner}
        return {"metadata": metadata, "status": {"containerStatuses": [{"name": contract.CONTAINER, "state": state}]}}


def test_a_log_is_read_once_without_follow() -> None:
    connection = FakeConnection()
    connection.logs["a-0"] = [line(1, "x"), line(2, "y")]
    found = pod_logs.lines(connection, "a", 0, pytest.fail, tail=5)  # type: ignore[arg-type]
    assert list(found) == [line(1, "x"), line(2, "y")]
    assert connection.asked == [("a-0", False, 5)]


def test_a_log_is_followed_from_pod_to_pod_and_across_a_lost_connection() -> None:
    connection = FakeConnection()
    story = iter(
        [
            lambda: connection.logs.update({"a-0": None}),
            lambda: connection.logs.update({"a-0": [line(1, "x")]}),
            lambda: connection.logs.update({"a-0": [line(1, "x"), line(2, "y")]}),  # the stream broke after x
            lambda: connection.ended.update({"a-0": 1}),
            lambda: (connection.logs.update({"a-1": [line(5, "z")]}), connection.attempts.update({"a-1": 1})),
            lambda: connection.replace("a-1", "a-2", [line(7, "w")]),  # deleted while it ran
            lambda: (connection.ended.update({"a-2": 0}), setattr(connection, "phase", "Succeeded")),
        ]
    )
    found = pod_logs.lines(connection, "a", 0, lambda _: next(story)(), follow=True, tail=3)  # type: ignore[arg-type]
    assert list(found) == [line(1, "x"), line(2, "y"), line(5, "z"), line(7, "w")]
    assert next(story, None) is None


def followed(connection: FakeConnection, *story: Callable[[], object]) -> list[str]:
    """The lines that follow a job whose first pod has the log that is there, while the story is told."""
    moments = iter([*story, lambda: (connection.ended.update({"a-0": 0}), setattr(connection, "phase", "Succeeded"))])
    found = pod_logs.lines(connection, "a", 0, lambda _: next(moments)(), follow=True)  # type: ignore[arg-type]
    lines = list(found)
    assert next(moments, None) is None
    return lines


def test_a_server_that_is_away_for_a_moment_does_not_end_the_log() -> None:
    connection = FakeConnection()
    connection.logs["a-0"] = [line(1, "x")]
    assert followed(
        connection,
        lambda: setattr(connection, "is_away", True),
        lambda: None,
        lambda: (setattr(connection, "is_away", False), connection.logs.update({"a-0": [line(1, "x"), line(2, "y")]})),
    ) == [line(1, "x"), line(2, "y")]


def test_the_log_goes_on_where_the_last_line_was_rotated_out() -> None:
    connection = FakeConnection()
    connection.logs["a-0"] = [line(1, "x"), line(2, "y")]
    rest = [line(7, "z"), line(8, "w")]
    assert followed(connection, lambda: connection.logs.update({"a-0": rest})) == [line(1, "x"), line(2, "y"), *rest]


@pytest.mark.parametrize(
    "new",
    [
        [line(2, "y")],  # the same words at the same time
        [line(2, "y"), line(3, "z")],
        [line(3, "x"), line(3, "x"), line(4, "x")],
        [],
    ],
)
def test_a_broken_stream_gives_no_line_twice_and_leaves_none_out(new: list[str]) -> None:
    connection = FakeConnection()
    first = [line(1, "x"), line(2, "y"), line(2, "y")]
    connection.logs["a-0"] = first
    assert followed(connection, lambda: connection.logs.update({"a-0": [*first, *new]})) == [*first, *new]


def test_a_node_that_the_job_does_not_have_is_refused() -> None:
    with pytest.raises(RequestError, match="a has nodes 0 to 1, not 2"):
        list(pod_logs.lines(FakeConnection(), "a", 2, pytest.fail))  # type: ignore[arg-type]


def test_a_row_has_the_numbers_and_the_time_of_its_line() -> None:
    text = "12:00:01 I [0] step 20/180  loss 6.1234  accuracy 0.75  lr 0.003  norm 1.234  12,345 tokens/s  mfu 41.2%"
    row = pod_logs.metrics_row(line(1, text))
    assert row is not None
    assert (row.step, row.loss, row.learning_rate, row.gradient_norm) == (20, 6.1234, 0.003, 1.234)
    assert (row.tokens_per_second, row.values) == (12345.0, {"rewards_accuracy": 0.75})
    assert row.mfu == pytest.approx(0.412)
    assert row.time == datetime(2026, 11, 30, 12, 0, 1, 500000, UTC)
    assert pod_logs.metrics_row(line(1, "12:00:01 I [0] training begins at step 20/180")) is None
    assert pod_logs.metrics_row("") is None


def test_an_error_of_the_connection_is_not_swallowed() -> None:
    class Away(FakeConnection):
        def job(self, name: str) -> Json:
            raise UnreachableError("gone")

    with pytest.raises(UnreachableError):
        next(pod_logs.lines(Away(), "a", 0, pytest.fail, follow=True))  # type: ignore[arg-type]
