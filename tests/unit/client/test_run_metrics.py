"""The history of a local run as the client reads it: what is new is read, whatever the file has become meanwhile."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from neuron_api import contract
from neuron_client.local import run_metrics
from neuron_trainer.metrics.history import MetricsFile, StartRecord, StepMetrics, open_history

BEGIN = 1_790_000_000.0


def step(number: int, time: float = BEGIN) -> StepMetrics:
    return StepMetrics(number, 2.0, 1e-3, 0.5, 8 * number, 1000.0, time + 2 * number)


@pytest.fixture
def file(tmp_path: Path) -> MetricsFile:
    made = open_history(tmp_path)
    made.begin(StartRecord(0, 0, BEGIN))
    for number in (1, 2, 3):
        made.append(step(number))
    return made


def followed(folder: Path, *story: Callable[[], object]) -> Iterator[int]:
    """The steps of a run that goes on while the story is told."""
    moments = iter(story)
    is_running = iter([True] * len(story) + [False])
    rows = run_metrics.followed(folder, lambda: next(is_running), lambda _: next(moments)())
    yield from (row.step for row in rows)
    assert next(moments, None) is None


def again(folder: Path) -> None:
    """A second start that goes back to step 2."""
    file = open_history(folder)
    file.begin(StartRecord(2, 1, BEGIN + 100))
    file.append(step(3, BEGIN + 100))


def test_steps_are_followed_and_those_that_are_done_again_come_again(file: MetricsFile, tmp_path: Path) -> None:
    steps = followed(tmp_path, lambda: file.append(step(4)), lambda: None, lambda: again(tmp_path))
    assert list(steps) == [1, 2, 3, 4, 3]


def test_a_run_that_was_started_again_is_shown_as_it_is_now(file: MetricsFile, tmp_path: Path) -> None:
    again(tmp_path)
    assert list(followed(tmp_path, lambda: None)) == [1, 2, 3]
    assert [row.step for row in run_metrics.rows(tmp_path)] == [1, 2, 3]


def test_a_file_that_was_cut_gives_no_step_twice(file: MetricsFile, tmp_path: Path) -> None:
    path = tmp_path / contract.METRICS_FILE

    def cut() -> None:
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))

    assert list(followed(tmp_path, cut, lambda: file.append(step(3, BEGIN + 1)))) == [1, 2, 3, 3]


def test_the_time_that_is_left_is_of_the_pace_of_this_start(
    file: MetricsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_metrics.time, "time", lambda: BEGIN + 8)
    assert run_metrics.seconds_left(run_metrics.look(tmp_path), None) is None
    assert run_metrics.seconds_left(run_metrics.look(tmp_path), 10) == 12.0, "7 steps of 2 s, of which 2 s are over"
    again(tmp_path)
    assert run_metrics.seconds_left(run_metrics.look(tmp_path), 10) is None, "one step is no pace"


def test_a_second_look_reads_nothing_again(file: MetricsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_metrics.look(tmp_path)
    monkeypatch.setattr("neuron_trainer.metrics.run_reader.parse", lambda *_: pytest.fail("read again"))
    assert run_metrics.look(tmp_path) is first
