"""Seconds per step: learned from new steps of one start of the processes, by the pod's own clock."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import at
from neuron_api.resource.progress import Progress, TrainerPhase
from neuron_api.resource.status import ProgressStatus
from neuron_operator.planning.status.pace import Pace, learn


def known(
    step: int, when: datetime | None, seconds: float | None = None, steps: int = 0, **more: object
) -> ProgressStatus:
    values = {
        "step": step,
        "last_step_time": when,
        "pod_uid": "u",
        "seconds_per_step": seconds,
        "measured_steps": steps,
    }
    return ProgressStatus.model_validate({**values, **more})


def report(step: int, when: datetime | None, round: int = 0) -> Progress:
    return Progress(phase=TrainerPhase.TRAINING, step=step, last_step_time=when, round=round)


def test_the_first_two_steps_give_the_first_measure() -> None:
    assert learn(known(0, None), report(1, at(0)), "u") == Pace(None, 0)
    assert learn(known(1, at(0)), report(2, at(3)), "u") == Pace(3.0, 1)


def test_steps_between_two_looks_count_one_by_one() -> None:
    assert learn(known(1, at(0)), report(5, at(8)), "u") == Pace(2.0, 4)
    assert learn(known(5, at(0), 2.0, 4), report(6, at(12)), "u") == Pace(3.0, 5)  # 0.9 x 2 + 0.1 x 12


@pytest.mark.parametrize("step", [5, 4])
def test_without_a_new_step_nothing_is_learned(step: int) -> None:
    assert learn(known(5, at(0), 2.0, 4), report(step, at(100)), "u") == Pace(2.0, 4)


def test_a_clock_that_was_set_back_teaches_nothing() -> None:
    assert learn(known(5, at(0), 2.0, 4), report(6, at(-100)), "u") == Pace(2.0, 4)


def test_new_processes_are_measured_anew() -> None:
    assert learn(known(5, at(0), 2.0, 4), report(6, at(1)), "other") == Pace()
    assert learn(known(5, at(0), 2.0, 4), report(6, at(1), round=1), "u") == Pace()
    assert learn(known(5, None, None, 0, round=1), report(6, at(1), round=1), "u") == Pace()


@given(st.lists(st.floats(0.5, 20.0), min_size=1, max_size=60))
def test_the_average_is_never_outside_of_what_was_measured(durations: list[float]) -> None:
    before, time = known(1, at(0)), 0.0
    for number, seconds in enumerate(durations, start=2):
        time += seconds
        found = learn(before, report(number, at(time)), "u")
        before = known(number, at(time), found.seconds, found.steps)
    assert before.seconds_per_step is not None
    assert min(durations) - 0.01 <= before.seconds_per_step <= max(durations) + 0.01
    assert before.measured_steps == len(durations)
