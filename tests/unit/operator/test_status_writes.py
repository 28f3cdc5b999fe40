"""Writes that only bring numbers up to date are spaced out, whatever the clock does."""

from datetime import timedelta

from builders import NOW
from neuron_operator.controller import StatusThrottle
from neuron_operator.queue.workqueue import JobKey

KEY = JobKey("default", "tiny")


def test_the_next_write_waits_until_the_interval_is_over() -> None:
    writes = StatusThrottle(10.0)
    assert writes.wait(KEY, NOW) == 0.0
    writes.written(KEY, NOW)
    assert [writes.wait(KEY, NOW + timedelta(seconds=s)) for s in (0, 4, 10, 99)] == [10.0, 6.0, 0.0, 0.0]


def test_a_clock_that_was_set_back_holds_no_write_back_for_hours() -> None:
    writes = StatusThrottle(10.0)
    writes.written(KEY, NOW)
    assert writes.wait(KEY, NOW - timedelta(hours=6)) == 10.0
