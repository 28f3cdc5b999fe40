"""The operator's time: its own, unless the API server disagrees."""

from datetime import datetime, timedelta
from email.utils import format_datetime

import pytest

from builders import NOW
from neuron_operator.kube.server_clock import TOLERANCE, Clock


class Watch:
    """A wall clock and a monotonic one, set by hand."""

    def __init__(self) -> None:
        self.wall, self.passed = NOW, 0.0
        self.clock = Clock(lambda: self.wall, lambda: self.passed)

    def wait(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.passed += seconds


def date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def test_before_the_first_answer_it_is_the_machines() -> None:
    watch = Watch()
    assert watch.clock() == NOW


def test_a_clock_that_agrees_is_used_as_it_is() -> None:
    watch = Watch()
    watch.clock.observe_server_date(date(NOW - timedelta(seconds=1)))
    watch.wait(0.25)
    assert watch.clock() == NOW + timedelta(seconds=0.25)


@pytest.mark.parametrize("hours", [-6, 6])
def test_a_clock_that_was_set_does_not_move_time_and_time_passes(hours: int) -> None:
    watch = Watch()
    watch.clock.observe_server_date(date(NOW))
    watch.wall += timedelta(hours=hours)
    watch.wait(90)
    assert abs(watch.clock() - (NOW + timedelta(seconds=90))) <= TOLERANCE
    watch.clock.observe_server_date(date(NOW + timedelta(seconds=90)))
    watch.wall -= timedelta(hours=hours)  # Set right again.
    assert watch.clock() == NOW + timedelta(seconds=90)


def test_a_date_that_cannot_be_read_says_nothing() -> None:
    watch = Watch()
    for text in (None, "", "yesterday", "Thu, 45 Nov 2026 99:00:00 GMT"):
        watch.clock.observe_server_date(text)
    assert watch.clock() == NOW
