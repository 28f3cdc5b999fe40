"""`neuron-train plot`: what the log directory tells of a run, drawn; restarts and validations too."""

import json
import shutil
from pathlib import Path

import pytest

from neuron_api import contract
from neuron_trainer.__main__ import main
from neuron_trainer.cli import plot, timeline_picture
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.metrics import history as metrics_file
from neuron_trainer.metrics.history import MetricsFile, StartRecord, StepMetrics, ValidationMetrics, folders_by_name
from neuron_trainer.metrics.timeline import timeline_file

from .conftest import alone, train
from .test_loop import checkpoint_at

pytestmark = pytest.mark.slow

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def restarted(tmp_path: Path) -> Path:
    """10 steps; a restart at 4 that did 3 steps again."""
    made = MetricsFile(tmp_path / "restarted" / contract.METRICS_FILE)
    made.path.parent.mkdir()
    made.append(StartRecord(0, 0, 1.0))
    for step in range(1, 11):
        made.append(StepMetrics(step, 10.0 / step, 0.1 * step, 0.5, 8 * step, 100.0 + step, float(step)))
    made.append(ValidationMetrics(5, 1.5, 5.5))
    made.append(StartRecord(4, 3, 2.0))
    return made.path.parent


def test_four_panels_show_the_numbers_of_the_log_directory(restarted: Path) -> None:
    figure = plot.draw({"run": metrics_file.open_history(restarted).history()})
    loss, rate, norm, speed = figure.axes
    assert list(loss.lines[0].get_xdata()) == list(range(1, 11))
    assert list(loss.lines[0].get_ydata()) == [10.0 / step for step in range(1, 11)]
    assert list(rate.lines[0].get_ydata()) == [0.1 * step for step in range(1, 11)]
    assert set(norm.lines[0].get_ydata()) == {0.5}
    assert list(speed.lines[0].get_ydata())[-1] == 110.0
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "loss", "learning rate", "gradient norm", "tokens per second",
    ]  # fmt: skip


def test_a_restart_is_a_dashed_line_where_it_went_on_and_says_what_it_cost(restarted: Path) -> None:
    figure = plot.draw({"run": metrics_file.open_history(restarted).history()})
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed] == [4]
    assert dashed[0].get_label() == "run: restarted 1x, 3 steps done again"


def noisy(count: int) -> metrics_file.History:
    steps = [StepMetrics(n, 5 - n / count + (-1) ** n, 1e-3, 0.5, 8 * n, 100.0, float(n)) for n in range(1, count + 1)]
    return metrics_file.History(tuple(steps), (), ())


def test_many_steps_have_a_smoothed_line_over_the_raw_one() -> None:
    loss, rate, *_ = plot.draw({"run": noisy(200)}).axes
    raw, mean = loss.lines
    assert list(raw.get_ydata()) == [one.loss for one in noisy(200).steps]
    assert mean.get_label() == "run (mean over about 8 steps)"
    assert max(mean.get_ydata()) - min(mean.get_ydata()) < max(raw.get_ydata()) - min(raw.get_ydata())
    assert len(rate.lines) == 1, "a schedule has no noise"


def test_few_steps_are_drawn_as_they_are() -> None:
    assert len(plot.draw({"run": noisy(10)}).axes[0].lines) == 1


def test_the_smoothed_line_of_equal_values_is_that_value_and_a_gap_stays_one() -> None:
    told = plot.smoothed([2.0, 2.0, float("nan"), 2.0, float("inf"), 2.0], 4)
    assert [value for value in told if value == value] == [2.0] * 4
    assert [value != value for value in told] == [False, False, True, False, True, False]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_legend_covers_no_panel_and_has_every_name(count: int) -> None:
    runs = {f"a-long-directory-of-runs/with-a-long-name-{n}": noisy(60) for n in range(count)}
    figure = plot.draw(runs)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert [text.get_text().partition(" (")[0] for text in legend.get_texts()] == list(runs)
    assert all(not legend.get_window_extent().overlaps(axes.get_window_extent()) for axes in figure.axes)
    assert figure.bbox.contains(*legend.get_window_extent().min)


def test_the_title_says_which_run_or_how_many(restarted: Path) -> None:
    history = metrics_file.open_history(restarted).history()
    assert plot.draw({"mine": history}).get_suptitle() == "mine: step 10, loss 1, restarted"
    assert plot.draw({"a": history, "b": history}).get_suptitle() == "2 runs"


def test_amounts_begin_at_zero_and_a_loss_does_not(restarted: Path) -> None:
    figure = plot.draw({"run": metrics_file.open_history(restarted).history()})
    assert [axes.get_ylim()[0] == 0 for axes in figure.axes] == [False, True, True, True]


@pytest.mark.parametrize("last", ["2026-11-26_11-30-26", "version_3", "0befdcbb-1300-4e3f-8666-6a4dc20321bc"])
def test_a_date_alone_is_no_name(last: str, tmp_path: Path) -> None:
    assert list(folders_by_name([tmp_path / "mine" / last])) == [f"mine/{last}"]


def test_validations_are_dots_on_the_loss(restarted: Path) -> None:
    figure = plot.draw({"run": metrics_file.open_history(restarted).history()})
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in dots] == [([5], [1.5])]


@pytest.mark.parametrize(("name", "begins"), [("a.png", PNG), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")])
def test_the_suffix_says_which_picture(name: str, begins: bytes, restarted: Path, tmp_path: Path) -> None:
    assert main(["plot", str(restarted / contract.METRICS_FILE), "-o", str(tmp_path / name)]) == 0
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_runs_are_named_by_what_tells_them_apart(restarted: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(restarted, tmp_path / name / "log")
    assert list(folders_by_name([tmp_path / "a" / "log", tmp_path / "b" / "log"])) == ["a/log", "b/log"]


@pytest.mark.parametrize(
    "what",
    ["nothing is logged", "a run that does not exist", "a suffix that is no picture", "a folder that is not there"],
)
def test_what_cannot_be_drawn_is_said(
    what: str, restarted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, words = {
        "nothing is logged": ([tmp_path], "metrics.jsonl: it has no logged step"),
        "a run that does not exist": ([tmp_path / "none"], f"there is no directory {tmp_path / 'none'}. Give the log"),
        "a suffix that is no picture": ([restarted, "-o", tmp_path / "a.xyz"], "a.xyz: Format 'xyz' is not supported"),
        "a folder that is not there": (
            [restarted, "-o", tmp_path / "x" / "a.png"],
            f"there is no directory {tmp_path / 'x'}. Create",
        ),
    }[what]
    assert main(["plot", *map(str, arguments)]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.usefixtures("one_process")
def test_a_run_that_was_started_again_has_both_starts(tiny: Path, tmp_path: Path, trained: Path) -> None:
    folder = tmp_path / "log"
    shutil.copytree(trained, folder)
    train(alone(tiny, folder, trainer__max_steps=6), Start(1, str(checkpoint_at(folder, 4)), last_step=6))
    history = metrics_file.open_history(folder).history()
    assert [(start.step, start.steps_lost) for start in history.starts] == [(0, 0), (4, 2)]
    assert [one.step for one in history.steps] == [1, 2, 3, 4, 5, 6]


@pytest.mark.usefixtures("one_process")
def test_validations_are_written_once_each_whatever_was_done_again(tiny: Path, tmp_path: Path) -> None:
    values = alone(
        tiny, tmp_path, trainer__max_steps=4, trainer__val_check_interval=2, trainer__limit_val_batches=2,
        data__val_dir=str(tiny / "data"), exp_manager__checkpoint_callback_params__every_n_train_steps=2,
        exp_manager__checkpoint_callback_params__save_top_k=-1, trainer__check_val_every_n_epoch=None,
    )  # fmt: skip
    folder = train(values)
    once = metrics_file.open_history(folder).history().validations
    train(values, Start(1, str(checkpoint_at(folder, 2)), last_step=4))
    again = metrics_file.open_history(folder).history().validations
    assert [one.step for one in once] == [2, 4]
    assert [(one.step, one.val_loss) for one in again] == [(one.step, one.val_loss) for one in once]


def test_each_metric_of_pairs_has_a_panel_with_its_validations() -> None:
    metrics = {"rewards_accuracy": 0.5, "rewards_margin": 1.5, "nll": 2.0}
    steps = [StepMetrics(step, 1.0, 0.1, 0.5, 8 * step, 100.0, 1.0, metrics=metrics) for step in (1, 2)]
    validation = ValidationMetrics(2, 1.5, 5.5, metrics={"val_rewards_accuracy": 0.75})
    figure = plot.draw({"run": metrics_file.History(tuple(steps), (validation,), ())})
    assert [axes.get_ylabel() for axes in figure.axes[4:]] == ["margin", "accuracy", "nll"]
    accuracy = figure.axes[5]
    assert [list(line.get_ydata()) for line in accuracy.lines] == [[0.5, 0.5], [0.75]]


def test_the_timeline_is_drawn_and_its_seconds_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (
        {"begin": 0, "end": 10, "seconds": {"start": 10}},
        {"begin": 10, "end": 60, "seconds": {"step": 45, "data": 5}, "step": 9},
        {"begin": 70, "end": 80, "seconds": {"start": 10}},
        {"begin": 80, "end": 90, "seconds": {"rework": 10}, "step": 9},
    )
    (tmp_path / "timeline.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["plot", str(tmp_path), "--timeline", "-o", str(tmp_path / "time.png")]) == 0
    assert (tmp_path / "time.png").read_bytes().startswith(PNG)
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].endswith(": 90.0 s")
    assert [row.split() for row in rows[1:3]] == [["step", "45.0", "s", "50.0%"], ["start", "20.0", "s", "22.2%"]]
    figure = timeline_picture.draw({"run": timeline_file.read(tmp_path)})
    assert [line.get_xdata()[0] for line in figure.axes[0].lines] == [70.0], "one restart"
    assert sum(bar.get_width() * bar.get_height() for bar in figure.axes[0].patches) == pytest.approx(90)


def test_a_run_without_a_timeline_is_refused(restarted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(restarted), "--timeline"]) == 2
    assert "timeline.jsonl" in capsys.readouterr().err
