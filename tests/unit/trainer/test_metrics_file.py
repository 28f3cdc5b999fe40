"""metrics.jsonl has each step once, in order, whatever happened in between."""

from pathlib import Path

import pytest

from neuron_trainer.metrics_file import MetricsFile, StepMetrics


def line(step: int, loss: float = 1.0) -> StepMetrics:
    return StepMetrics(step, loss, 0.1, 0.5, 8 * step, 100.0, 1.0)


@pytest.fixture
def metrics(tmp_path: Path) -> MetricsFile:
    made = MetricsFile(tmp_path / "metrics.jsonl")
    for step in range(1, 6):
        made.append(line(step))
    return made


def steps(metrics: MetricsFile) -> list[int]:
    import json

    return [json.loads(text)["step"] for text in metrics.path.read_text().splitlines()]


def test_steps_that_are_done_again_are_removed(metrics: MetricsFile) -> None:
    metrics.drop_after(3)
    assert steps(metrics) == [1, 2, 3]
    metrics.append(line(4, loss=2.0))
    assert steps(metrics) == [1, 2, 3, 4]
    assert metrics.last_step() == 4


def test_a_line_that_was_torn_by_a_kill_is_removed(metrics: MetricsFile) -> None:
    with metrics.path.open("a") as file:
        file.write('{"step": 6, "lo')
    assert metrics.last_step() == 5
    metrics.drop_after(9)
    assert steps(metrics) == [1, 2, 3, 4, 5]


def test_a_run_from_scratch_begins_the_file_anew(metrics: MetricsFile) -> None:
    metrics.drop_after(0)
    assert steps(metrics) == []
    assert metrics.last_step() == 0


def test_without_a_file_there_is_no_step(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "absent.jsonl")
    metrics.drop_after(3)
    assert metrics.last_step() == 0
    assert not metrics.path.exists()


def test_values_are_written_in_full(metrics: MetricsFile) -> None:
    import json

    metrics.append(line(6, loss=0.1 + 0.2))
    assert json.loads(metrics.path.read_text().splitlines()[-1])["loss"] == 0.1 + 0.2
