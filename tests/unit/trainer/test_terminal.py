"""What a person sees of the steps: a live bar on a terminal, a line for each logged step in a log."""

import io
import logging
import re

import pytest

from neuron_trainer.metrics_file import StepMetrics
from neuron_trainer.terminal import StepDisplay

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
