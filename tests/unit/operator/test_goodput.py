"""Goodput and the estimated end: told from the status alone, so that a pass without news changes nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import NOW, at, make_job, make_pod, make_report
from neuron_api.resource.status import JobStatus, Phase, ProgressStatus, SuspensionStatus
from neuron_operator.planning.status import pace, progress

JOB = make_job().build()
HOST = make_report(make_pod(JOB, 0).ready().build(), JOB)
STARTED = JobStatus(start_time=NOW)
SUSPENDED = SuspensionStatus(request_time=at(0), stop_time=at(400))


def follow(status: JobStatus, *looks: tuple[int, float], round: int = 0, max_steps: int | None = None) -> JobStatus:
    """Looks at a trainer that has finished so many steps at that second."""
    for step, when in looks:
        report = HOST.round(round).step(step, at(when)).build()
        status = progress.update(status, report, "pod-0-0", max_steps)
        assert progress.update(status, report, "pod-0-0", max_steps) == status, "the same report tells something new"
    return status


def told(step: int, seconds: float, steps: int, **values: object) -> JobStatus:
    numbers = ProgressStatus(step=step, last_step_time=at(400), total_step_seconds=seconds, total_measured_steps=steps)
    return STARTED.model_copy(update={"progress": numbers, **values})


def end_of(status: JobStatus) -> object:
    assert status.progress is not None
    return status.progress.estimated_completion_time


# ---- goodput -----------------------------------------------------------------------------------------------------


def test_start_and_compilation_are_what_an_undisturbed_job_misses() -> None:
    status = follow(STARTED, (1, 100), (2, 110), (10, 190))
    assert status.progress is not None
    assert (status.progress.total_step_seconds, status.progress.total_measured_steps) == (90.0, 9)
    assert status.goodput == pytest.approx(100 / 190, abs=1e-3)


def test_steps_that_are_done_again_count_once_and_the_recovery_not_at_all() -> None:
    before = follow(STARTED, (1, 10), (20, 200))
    assert before.goodput == 1.0
    again = follow(before, (11, 300), (20, 390), round=1)
    assert again.goodput == pytest.approx(20 * 10 / 390, abs=1e-3)


def test_a_job_that_begins_again_at_step_0_has_kept_nothing() -> None:
    status = follow(follow(STARTED, (1, 10), (20, 200)), (1, 300), round=1)
    assert status.goodput == pytest.approx(10 / 300, abs=1e-3)


def test_between_two_starts_the_last_goodput_stays() -> None:
    before = follow(STARTED, (1, 10), (20, 200))
    started = progress.update(before, HOST.round(1).build(), "pod-0-0", None)
    assert started.goodput == before.goodput == 1.0


def test_time_that_the_job_was_suspended_is_not_counted() -> None:
    assert progress.goodput_until_last_step(told(10, 100.0, 10, suspended_seconds=200.0)) == 0.5


def test_what_comes_after_the_last_step_counts_in_the_end_but_a_suspension_does_not() -> None:
    assert progress.goodput_until_end(told(10, 100.0, 10), at(1000)) == 0.1
    assert progress.goodput_until_end(told(10, 100.0, 10, suspension=SUSPENDED), at(1000)) == 0.25


@pytest.mark.parametrize(
    "status",
    [JobStatus(), STARTED, told(1, 0.0, 0), told(9, 9.0, 9, start_time=None), told(9, 9.0, 9, start_time=at(500))],
)
def test_no_share_is_told_before_a_pace_is_known_or_by_clocks_that_contradict_each_other(status: JobStatus) -> None:
    assert progress.goodput_until_last_step(status) is None


@given(st.integers(0, 10**6), st.floats(0, 1e9), st.integers(0, 10**6), st.floats(0, 1e6))
def test_it_is_a_share_whatever_the_clocks_say(step: int, seconds: float, steps: int, suspended: float) -> None:
    found = progress.goodput_until_last_step(told(step, seconds, steps, suspended_seconds=suspended))
    assert found is None or 0 <= found <= 1


# ---- the estimated end -------------------------------------------------------------------------------------------


def test_the_end_is_estimated_from_the_steps_that_are_left_at_their_pace() -> None:
    assert end_of(follow(STARTED, (1, 100), (2, 110), max_steps=10)) == at(190)


@pytest.mark.parametrize(("looks", "max_steps"), [(((1, 100), (2, 110)), None), (((1, 100),), 10)])
def test_without_a_last_step_or_a_pace_no_end_is_told(looks: tuple[tuple[int, float], ...], max_steps: int) -> None:
    assert end_of(follow(STARTED, *looks, max_steps=max_steps)) is None


def test_an_end_beyond_the_calendar_is_none() -> None:
    assert pace.end(0, 10**12, NOW, 10.0) is None


@pytest.mark.parametrize("phase", Phase)
def test_only_of_a_job_that_runs_an_end_is_estimated(phase: Phase) -> None:
    running = follow(STARTED, (1, 100), (2, 110), max_steps=10)
    settled = progress.finalize(running, phase, at(200) if phase in (Phase.SUCCEEDED, Phase.FAILED) else None)
    assert (end_of(settled) is not None) is (phase is Phase.RUNNING)
    assert settled.goodput == (0.1 if phase in (Phase.SUCCEEDED, Phase.FAILED) else running.goodput)
    assert progress.finalize(settled, phase, at(200) if phase in (Phase.SUCCEEDED, Phase.FAILED) else None) == settled
