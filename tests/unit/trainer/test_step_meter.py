"""A step's own time, without waits for others."""

import threading

from neuron_trainer.metrics.step_meter import StepMeter
from neuron_trainer.parallel.hosts import WaitClock


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_own_work_is_the_step_without_its_waits() -> None:
    clock = _Clock()
    waits = WaitClock(clock)
    meter = StepMeter(lambda: waits.seconds, clock)
    assert meter.measured == (0, 0, 0)
    meter.add_data(0.25)
    meter.begin()
    clock.now += 1.0
    with waits.waiting():
        clock.now += 0.5
    meter.end()
    assert meter.measured == (1_000_000, 250_000, 500_000)


def test_what_lies_between_two_steps_belongs_to_none() -> None:
    clock = _Clock()
    waits = WaitClock(clock)
    meter = StepMeter(lambda: waits.seconds, clock)
    with waits.waiting():
        clock.now += 7.0  # a checkpoint
    meter.begin()
    clock.now += 0.001
    meter.end()
    assert meter.measured == (1000, 0, 0)


def test_a_step_is_never_measured_as_nothing() -> None:
    clock = _Clock()
    meter = StepMeter(lambda: 0.0, clock)
    meter.begin()
    meter.end()
    assert meter.measured == (1, 0, 0)


def test_a_thread_that_saves_in_the_background_does_not_train() -> None:
    clock = _Clock()
    waits = WaitClock(clock)

    def save() -> None:
        with waits.waiting():
            clock.now += 3.0

    thread = threading.Thread(target=save)
    thread.start()
    thread.join()
    assert waits.seconds == 0.0
