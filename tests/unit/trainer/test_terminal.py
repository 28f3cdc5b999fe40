"""What a person sees of the steps: a live bar on a terminal, a line for each logged step in a log."""

import io
import logging
import re
from dataclasses import replace

import pytest

from neuron_trainer import logs
from neuron_trainer.metrics.history import StepMetrics
from neuron_trainer.metrics.terminal import PassDisplay, StepDisplay, fitting

STEP = StepMetrics(3, 2.5, 1e-3, 0.75, 24, 12345.6, 1.0)
KNOWN = StepMetrics(3, 2.5, 1e-3, 0.75, 24, 12345.6, 1.0, mfu=0.4213)


class Terminal(io.StringIO):
    """As far as it is asked."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_with_the_newest_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    display = StepDisplay(2, 10)
    display.show(KNOWN)
    display.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "2/10" in shown, "where the run goes on"
    assert "3/10" in shown
    assert "loss 2.5000  lr 0.001  norm 0.750  12,346 tokens/s  mfu 42.1%" in shown
    display.close()  # a second time does nothing


@pytest.mark.parametrize(("total", "of"), [(10, "10"), (-1, "-")])
def test_a_log_has_a_line_and_no_share_that_is_not_known(total: int, of: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        StepDisplay(0, total).show(STEP)
    assert caplog.messages == [f"step 3/{of}  loss 2.5000  lr 0.001  norm 0.750  12,346 tokens/s"]


PARTS = {"count": "310/1000", "eta": "1:02:03 left", "loss": "loss 2.5000", "lr": "lr 0.001", "norm": "norm 0.750",
         "speed": "12,346 tokens/s", "mfu": "mfu 42.1%"}  # fmt: skip


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (7, []),
        (8, ["310/1000"]),
        (24, ["310/1000", "1:02:03 left"]),
        (40, ["310/1000", "1:02:03 left", "loss 2.5000"]),
        (60, ["310/1000", "1:02:03 left", "loss 2.5000", "12,346 tokens/s"]),
        (80, ["310/1000", "1:02:03 left", "loss 2.5000", "lr 0.001", "norm 0.750", "12,346 tokens/s"]),
        (100, list(PARTS.values())),
    ],
)
def test_a_narrow_terminal_shows_count_time_left_and_loss_first(width: int, shown: list[str]) -> None:
    texts, room = fitting(PARTS, width)
    assert texts == shown
    assert room == width - len("  ".join(shown))


def terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> Terminal:
    """In place of stderr, for the log, too; not a fixture, since pytest changes stderr between setup and call."""
    screen, root = Terminal(), logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    logs.console()
    return screen


def lines(screen: Terminal) -> list[str]:
    """What stays on the screen: text after the last carriage return of each line."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    return [line.rpartition("\r")[2].rstrip() for line in text.rstrip("\n").split("\n")]


@pytest.mark.parametrize("width", [20, 40, 60, 100, 160])
def test_a_line_of_the_log_leaves_no_copy_of_the_bar(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch, width)
    times = iter((0.0, 30.0, 60.0))
    display = StepDisplay(2, 1000, lambda: next(times))
    for step in (3, 4):
        display.show(StepMetrics(step, 2.5, 1e-3, 0.75, 24, 12345.6, 1.0))
        logging.getLogger("neuron_trainer").info("saved")
    display.close()
    logging.getLogger("neuron_trainer").info("ended")
    shown = lines(screen)
    assert [line for line in shown if "/1000" in line] == [shown[-2]], "one line, the last state"
    assert "4/1000" in shown[-2]
    assert ("8:18:00 left  loss 2.5000" in shown[-2]) == (width >= 40)
    assert [line.split()[-1] for line in shown if "I" in line.split()] == ["saved", "saved", "ended"]


def test_a_run_without_a_number_of_steps_has_no_bar_and_no_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch, 60)
    display = StepDisplay(0, -1)
    display.show(STEP)
    display.close()
    assert lines(screen)[-1].strip() == "step 3  loss 2.5000  lr 0.001  norm 0.750  12,346 tokens/s"


def test_the_metrics_of_pairs_follow_the_loss(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    metrics = {"chosen_rewards": 0.12345, "rejected_rewards": -1.5, "rewards_margin": 1.6, "rewards_accuracy": 0.75}
    StepDisplay(2, 10).show(replace(STEP, metrics=metrics))
    assert "loss 2.5000  chosen 0.1235  rejected -1.5  accuracy 0.75  lr 0.001" in caplog.text


def test_a_pass_says_how_far_it_is_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = iter([0.0, 4.0, 12.0, 13.0])
    display = PassDisplay("reference log-probabilities (train)", 40, lambda: next(now))
    for done in (10, 20, 30, 40):
        display.show(done)
    display.close()
    assert [record.message for record in caplog.records] == [
        "reference log-probabilities (train) 10/40",
        "reference log-probabilities (train) 30/40  0:00:06 left",
        "reference log-probabilities (train) 40/40  0:00:00 left",
    ]


def test_a_pass_has_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    display = PassDisplay("reference", 4)
    display.show(2)
    display.show(4)
    display.close()
    assert "reference 4/4" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
