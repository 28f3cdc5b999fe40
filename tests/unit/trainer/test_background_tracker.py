"""The queue between training and a tracker: nothing waits for a tracker, and the end of a run not for long."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from bounds import BOUND
from neuron_trainer.trackers.background import BackgroundTracker, Point, RefusalError


class Story:
    """A tracker that does what a test says; it must never be called by two threads."""

    name = "Story"

    def __init__(self, send: Callable[[Point], None] = lambda point: None, max_values: int = 1) -> None:
        self.sent: list[int] = []
        self.requests: list[int] = []
        self.max_values = max_values
        self.closed: list[bool] = []
        self.opened = 0
        self._send, self._threads = send, set[int]()

    def open(self) -> None:
        self._threads.add(threading.get_ident())
        self.opened += 1

    def send(self, points: Sequence[Point]) -> None:
        for point in points:
            self._send(point)
        self.sent += [point.step for point in points]
        self.requests.append(len(points))

    def close(self, *, succeeded: bool) -> None:
        self._threads.add(threading.get_ident())
        assert len(self._threads) == 1
        self.closed.append(succeeded)


def test_a_tracker_that_is_down_gets_everything_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    is_down, failures = threading.Event(), threading.Semaphore(0)
    is_down.set()

    def send(point: Point) -> None:
        if is_down.is_set():
            failures.release()
            raise ConnectionError("refused\nby the server")

    run = Story(send)
    tracker = BackgroundTracker(run, retry_seconds=0.01)
    for step in range(1, 6):
        tracker.hand_over(step, {"loss": 1.0})
    for _ in range(3):
        assert failures.acquire(timeout=BOUND)
    is_down.clear()
    tracker.close(succeeded=True)
    assert (run.sent, run.closed, tracker.lost) == ([1, 2, 3, 4, 5], [True], 0)
    warning = "Story cannot be reached, training goes on without it: ConnectionError: refused by the server"
    assert [record.message for record in caplog.records] == [warning, "Story can be reached again"]


def test_a_tracker_that_hangs_never_holds_up_training(caplog: pytest.LogCaptureFixture) -> None:
    is_released, begun = threading.Event(), threading.Event()

    def send(point: Point) -> None:
        begun.set()
        is_released.wait(BOUND)

    tracker = BackgroundTracker(Story(send), max_waiting=10, close_seconds=0.05)
    tracker.hand_over(0, {})
    assert begun.wait(BOUND)
    before = time.process_time()
    for step in range(1, 1001):
        tracker.hand_over(step, {"loss": 1.0})
    assert time.process_time() - before < 0.5, "a thousand steps"
    assert tracker.lost == 990
    tracker.close(succeeded=True)
    assert tracker.lost == 1001, "also the one that is on its way"
    assert caplog.records[-1].message == "Story did not take 1001 logged steps; they are in metrics.jsonl"
    is_released.set()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Closed until a test opens it."""
    event = threading.Event()
    yield event
    event.set()


def test_what_has_piled_up_goes_in_few_requests(gate: threading.Event) -> None:
    run = Story(lambda point: gate.wait(BOUND), max_values=1000)  # type: ignore[arg-type, return-value]
    tracker = BackgroundTracker(run)
    for step in range(10_000):
        tracker.hand_over(step, {"loss": 1.0, "lr": 1.0})
    gate.set()
    tracker.close(succeeded=True)
    assert run.sent == list(range(10_000))
    assert max(run.requests) == 500
    assert len(run.requests) <= 22, "20, and what the thread had taken before the others came"
    assert tracker.lost == 0


def test_a_step_with_more_values_than_a_request_may_have_is_sent_alone() -> None:
    run = Story(max_values=3)
    tracker = BackgroundTracker(run)
    for step, count in enumerate((1, 9, 1, 2)):
        tracker.hand_over(step, {str(number): 1.0 for number in range(count)})
    tracker.close(succeeded=True)
    assert (run.sent, tracker.lost) == ([0, 1, 2, 3], 0)


def closing_seconds(tracker: BackgroundTracker, *, succeeded: bool) -> float:
    begin = time.monotonic()
    tracker.close(succeeded=succeeded)
    return time.monotonic() - begin


def test_a_slow_tracker_cannot_lengthen_the_wait_at_the_end() -> None:
    """Each step that was sent began the wait anew."""
    is_over = threading.Event()
    tracker = BackgroundTracker(Story(lambda point: is_over.wait(0.1)), close_seconds=0.3)  # type: ignore[arg-type, return-value]
    for step in range(600):
        tracker.hand_over(step, {"loss": 1.0})
    assert closing_seconds(tracker, succeeded=True) < 30
    is_over.set()
    assert tracker.lost > 300


@pytest.mark.parametrize("is_down", [True, False], ids=["down", "hangs"])
def test_a_run_that_has_failed_hardly_waits(is_down: bool, gate: threading.Event) -> None:
    begun = threading.Event()

    def send(point: Point) -> None:
        begun.set()
        if is_down:
            raise ConnectionError("refused")
        gate.wait(BOUND)

    tracker = BackgroundTracker(Story(send))
    tracker.hand_over(1, {"loss": 1.0})
    assert begun.wait(BOUND)
    assert closing_seconds(tracker, succeeded=False) < 10, "not the 20 s of a run that has succeeded"
    assert tracker.lost == 1


def test_a_tracker_that_is_back_before_the_wait_is_over_gets_everything() -> None:
    """It was given up where the next attempt was due after the end of the wait."""
    attempts: list[int] = []

    def send(point: Point) -> None:
        attempts.append(point.step)
        if len(attempts) < 4:
            raise ConnectionError("refused")

    run = Story(send)
    tracker = BackgroundTracker(run, retry_seconds=10 * BOUND, close_seconds=BOUND, closing_retry_seconds=0.01)
    tracker.hand_over(1, {"loss": 1.0})
    tracker.close(succeeded=True)
    assert (run.sent, run.closed, tracker.lost) == ([1], [True], 0)


def test_a_tracker_that_has_all_but_never_ends_is_named_so(
    gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    class Endless(Story):
        def close(self, *, succeeded: bool) -> None:
            gate.wait(BOUND)

    is_sent = threading.Event()
    tracker = BackgroundTracker(Endless(lambda point: is_sent.set()), close_seconds=0.2)
    tracker.hand_over(1, {})
    assert is_sent.wait(BOUND)
    tracker.close(succeeded=True)
    assert [record.message for record in caplog.records] == [
        "Story has every logged step, but has not confirmed the end of the run"
    ]


def test_a_step_that_is_refused_holds_up_no_other(caplog: pytest.LogCaptureFixture, gate: threading.Event) -> None:
    def send(point: Point) -> None:
        gate.wait(BOUND)
        if point.step in (3, 5):
            raise RefusalError("Invalid metric name")

    run = Story(send, max_values=100)
    tracker = BackgroundTracker(run, retry_seconds=BOUND)
    for step in range(8):
        tracker.hand_over(step, {"loss": 1.0})
    gate.set()
    tracker.close(succeeded=True)
    assert (run.sent, tracker.lost) == ([0, 1, 2, 4, 6, 7], 2)
    assert [record.message for record in caplog.records] == [
        "Story refuses step 3: Invalid metric name",
        "Story did not take 2 logged steps; they are in metrics.jsonl",
    ]


@pytest.mark.parametrize("words", [
    "API request to http://me:hidden@127.0.0.1:1/api failed",
    "API request to http://me:a/hidden@b@127.0.0.1:1/api failed",
    "GET https://storage.example/part?X-Amz-Signature=hidden failed",
    "Max retries exceeded with url: /api/2.0?token=hidden (Caused by NewConnectionError)",
    "the key hidden-key-of-wandb is wrong",
])  # fmt: skip
def test_no_secret_of_an_address_or_of_the_environment_is_in_the_log(
    words: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "hidden-key-of-wandb")
    attempts = threading.Semaphore(0)

    def send(point: Point) -> None:
        attempts.release()
        raise ConnectionError(words)

    tracker = BackgroundTracker(Story(send), retry_seconds=0.01)
    tracker.hand_over(1, {})
    assert all(attempts.acquire(timeout=BOUND) for _ in range(2)), "by the second attempt the first is in the log"
    tracker.close(succeeded=False)
    warning = caplog.records[0].message
    assert warning.startswith("Story cannot be reached, training goes on without it: ConnectionError: ")
    assert "hidden" not in warning and words.split(maxsplit=1)[0] in warning
