"""The history of a run: every line that was ever written is still there, and a reader has each step once.

The kind: what a start does to the files of the starts before it. Tried: a resume, a start from scratch (it erased the
file), a kill in the middle of a line, a file of an older release, a run that does not come as far again.
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from neuron_trainer.metrics.history import STARTS_FILE, VALIDATIONS_FILE, MetricsFile, StartRecord, StepMetrics
from neuron_trainer.metrics.history import ValidationMetrics as Validation


def line(step: int, loss: float = 1.0) -> StepMetrics:
    return StepMetrics(step, loss, 0.1, 0.5, 8 * step, 100.0, 1.0)


def begun(folder: Path, step: int = 0, lost: int = 0) -> MetricsFile:
    """A new start, as another process makes it."""
    made = MetricsFile(folder / "metrics.jsonl")
    made.begin(StartRecord(step, lost, 1.0))
    return made


@pytest.fixture
def metrics(tmp_path: Path) -> MetricsFile:
    """A start that did 5 steps and validated the last."""
    made = begun(tmp_path)
    for step in range(1, 6):
        made.append(line(step))
    made.append(Validation(5, 3.0, 1.0))
    return made


def steps(metrics: MetricsFile) -> list[int]:
    """In the file."""
    return [json.loads(text)["step"] for text in metrics.path.read_text().splitlines() if text.endswith("}")]


def now(metrics: MetricsFile) -> list[tuple[int, float]]:
    """As a reader has them."""
    return [(one.step, one.loss) for one in metrics.history().steps]


def test_a_step_that_is_done_again_has_two_lines_and_the_last_one_counts(metrics: MetricsFile) -> None:
    again = begun(metrics.path.parent, step=3, lost=2)
    again.append(line(4, loss=2.0))
    assert steps(again) == [1, 2, 3, 4, 5, 4]
    assert now(again) == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0)], "step 5 has not been done again yet"
    assert again.last_step() == 4
    assert [one.step for one in again.history().validations] == []
    assert [(one.start, one.step, one.steps_lost) for one in again.history().starts] == [(0, 0, 0), (2, 3, 2)]


@pytest.mark.parametrize("step", range(6))
def test_no_start_changes_a_byte_of_what_is_there(metrics: MetricsFile, step: int) -> None:
    names = ("metrics.jsonl", VALIDATIONS_FILE, STARTS_FILE)
    before = {name: (metrics.path.parent / name).read_bytes() for name in names}
    again = begun(metrics.path.parent, step=step)
    again.append(line(step + 1, loss=2.0))
    for name, content in before.items():
        assert (metrics.path.parent / name).read_bytes().startswith(content), name


def test_a_run_from_scratch_is_a_run_of_its_own(metrics: MetricsFile) -> None:
    again = begun(metrics.path.parent)
    assert now(again) == []
    assert again.last_step() == 0
    again.append(line(1, loss=2.0))
    assert now(again) == [(1, 2.0)]
    assert steps(again) == [1, 2, 3, 4, 5, 1]


def test_the_third_start_stands_over_the_second_and_the_first(metrics: MetricsFile) -> None:
    second = begun(metrics.path.parent, step=4)
    second.append(line(5, loss=2.0))
    second.append(line(6, loss=2.0))
    third = begun(metrics.path.parent, step=2)
    third.append(line(3, loss=3.0))
    assert now(third) == [(1, 1.0), (2, 1.0), (3, 3.0)]
    fourth = begun(metrics.path.parent, step=3)
    fourth.append(line(4, loss=4.0))
    assert now(fourth) == [(1, 1.0), (2, 1.0), (3, 3.0), (4, 4.0)]


def test_a_line_that_was_torn_by_a_kill_spoils_no_other(metrics: MetricsFile) -> None:
    for name in ("metrics.jsonl", STARTS_FILE, VALIDATIONS_FILE):
        with (metrics.path.parent / name).open("a") as file:
            file.write('{"step": 6, "lo')
    assert metrics.last_step() == 5
    again = begun(metrics.path.parent, step=5)
    again.append(line(6, loss=2.0))
    assert now(again)[-1] == (6, 2.0)
    assert [one.step for one in again.history().starts] == [0, 5]
    assert len(again.history().validations) == 1


def test_a_file_of_a_release_without_numbers_of_starts_is_read(tmp_path: Path) -> None:
    """It removed what was done again itself, so the last line of a step counts."""

    def written(*lines: dict[str, Any]) -> str:
        return "".join(json.dumps(one) + "\n" for one in lines)

    old = {"loss": 1.0, "lr": 0.1, "gradient_norm": 0.5, "consumed_samples": 8, "tokens_per_second": 1.0, "time": 1.0}
    (tmp_path / "metrics.jsonl").write_text(written(*({"step": step, **old} for step in range(1, 8))))
    starts = ({"step": 0, "steps_lost": 0, "time": 1.0}, {"step": 4, "steps_lost": 1, "time": 2.0})
    (tmp_path / STARTS_FILE).write_text(written(*starts))
    assert [step for step, _ in now(MetricsFile(tmp_path / "metrics.jsonl"))] == [1, 2, 3, 4, 5, 6, 7]
    again = begun(tmp_path, step=6)
    assert [step for step, _ in now(again)] == [1, 2, 3, 4, 5, 6]
    assert [one.start for one in again.history().starts] == [0, 0, 3]


def test_without_a_file_there_is_no_step(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "absent.jsonl")
    assert metrics.last_step() == 0
    assert not metrics.path.exists()


def test_values_are_written_in_full(metrics: MetricsFile) -> None:
    metrics.append(line(6, loss=0.1 + 0.2))
    assert json.loads(metrics.path.read_text().splitlines()[-1])["loss"] == 0.1 + 0.2


def test_a_full_disk_is_told_with_the_file(metrics: MetricsFile) -> None:
    """`/dev/full` takes no byte; the system's own error names no file."""
    metrics.path.unlink()
    metrics.path.symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*metrics\.jsonl'"):
        metrics.append(line(6))


def test_metrics_of_the_objective_are_fields_of_their_line(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.append(replace(line(1), metrics={"rewards_accuracy": 0.5, "nll": math.nan}))
    file.append(Validation(1, 1.0, 1.0, metrics={"val_nll": 3.0}))
    values = json.loads(file.path.read_text())
    assert (values["rewards_accuracy"], values["nll"]) == (0.5, None)
    assert "metrics" not in values
    history = file.history()
    assert history.steps[0].metrics["rewards_accuracy"] == 0.5
    assert math.isnan(history.steps[0].metrics["nll"])
    assert history.validations[0].metrics == {"val_nll": 3.0}
