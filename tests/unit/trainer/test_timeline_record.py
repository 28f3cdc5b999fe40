"""A launcher's account of its time: its own, its workers', and what a failure cut off; and the file that has it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_api import timeline
from neuron_api.resource.progress import CompileReport, Progress, TimeReport
from neuron_trainer.ipc.phases import Phases
from neuron_trainer.ipc.worker_channel import WorkerChannel
from neuron_trainer.metrics.timeline import timeline_file
from neuron_trainer.metrics.timeline.activity_clock import ActivityClock, step_activity
from neuron_trainer.metrics.timeline.time_record import TimeRecord
from neuron_trainer.metrics.timeline.timeline_file import TIMELINE_FILE, TimelineFile

WALL = 1_764_550_000.0


class Life:
    """A launcher whose time is made here; it began 10 s before."""

    def __init__(self, folder: Path) -> None:
        self.now = 110.0
        self.channel = WorkerChannel(folder)
        self.record = TimeRecord(self.channel, 100.0, lambda: self.now, lambda: WALL + self.now)

    def report(self, step: int, activity: str, round: int = 0, /, **seconds: float) -> None:
        """What a worker hands over."""
        moment = datetime.fromtimestamp(WALL, UTC)
        spent = TimeReport(since=moment, until=moment, seconds=seconds, activity=activity)
        self.channel.write_progress(Progress(round=round, step=step, time_spent=spent))

    @property
    def seconds(self) -> Mapping[str, float]:
        report = self.record.report()
        assert sum(report.seconds.values()) == pytest.approx((report.until - report.since).total_seconds(), abs=1e-3)
        return report.seconds


@pytest.fixture
def life(tmp_path: Path) -> Life:
    return Life(tmp_path)


def test_own_activities_follow_each_other(life: Life) -> None:
    life.record.enter("rendezvous")
    life.now += 5
    assert life.seconds == {"start": 10.0, "rendezvous": 5.0}


def test_a_round_is_what_its_worker_reports(life: Life) -> None:
    life.record.begin_round(0, at=life.now)
    life.now += 20
    assert life.seconds == {"start": 10.0}, "what workers do before their first report is not certain"
    life.report(3, "step", load=4.0, step=9.0)
    assert life.seconds == {"start": 10.0, "load": 4.0, "step": 9.0}
    life.record.enter("start")
    assert life.seconds == {"start": 10.0, "load": 4.0, "step": 9.0, "rework": 7.0}, "a step was cut off"


def test_a_report_of_another_round_does_not_count(life: Life) -> None:
    life.report(3, "step", step=9.0)
    life.record.begin_round(1, at=life.now)
    life.now += 4
    life.record.enter("start")
    assert life.seconds == {"start": 10.0, "load": 4.0}


@pytest.mark.parametrize(("silence", "activity"), [(50.0, "rework"), (70.0, "hang")])
def test_processes_that_stood_still_are_a_hang(life: Life, silence: float, activity: str) -> None:
    life.record.begin_round(0, at=life.now)
    life.now += 10
    life.report(10, "step", step=10.0)
    assert life.seconds["step"] == 10.0
    life.now += 10
    life.report(20, "step", step=20.0)
    assert life.seconds["step"] == 20.0
    life.now += silence
    life.record.enter("start")
    assert life.seconds[activity] == silence


def test_the_first_step_of_a_start_that_resumes_is_no_hang_however_long_it_takes(life: Life) -> None:
    """Kind: it compiles for minutes, and then a peer fails."""
    life.record.begin_round(0, at=life.now)
    life.now += 30
    life.report(1000, "step", load=30.0)
    assert life.seconds["load"] == 30.0
    life.now += 300
    life.record.enter("start")
    assert life.seconds["rework"] == 300.0


def test_a_slow_step_is_no_hang(life: Life) -> None:
    life.record.begin_round(0, at=life.now)
    for step in (1, 2):
        life.now += 100
        life.report(step, "step", step=100.0 * step)
        assert life.seconds["step"] == 100.0 * step
    life.now += 900
    life.record.enter("start")
    assert life.seconds["rework"] == 900.0, "ten of its steps are 1000 s"


def test_the_compile_phase_begins_where_it_says(life: Life) -> None:
    life.record.begin_round(0, at=life.now)
    begun = datetime.fromtimestamp(WALL + life.now + 3, UTC)
    life.channel.write_compilation(CompileReport(since=begun, time=begun + timedelta(seconds=1)))
    life.now += 10
    life.record.enter("start")
    assert life.seconds == {"start": 10.0, "load": 3.0, "compile": 7.0}


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.sampled_from(("start", "rendezvous", "idle"))),
        st.tuples(st.just("round"), st.integers(0, 2)),
        st.tuples(st.just("report"), st.tuples(st.integers(0, 2), st.floats(0, 50), st.floats(0, 50))),
        st.tuples(st.just("write"), st.none()),
    ),
    max_size=25,
)


@given(st.lists(st.floats(0, 30), min_size=25, max_size=25), EVENTS)
def test_whatever_happens_the_seconds_are_those_of_the_wall(
    tmp_path_factory: pytest.TempPathFactory, waits: list[float], events: list[tuple[str, object]]
) -> None:
    folder = tmp_path_factory.mktemp("life")
    life, file = Life(folder), TimelineFile(folder)
    for wait, (kind, value) in zip(waits, events, strict=False):
        life.now += wait
        if kind == "enter":
            life.record.enter(str(value))
        elif kind == "round":
            life.record.begin_round(int(str(value)), at=life.now)
        elif kind == "report":
            number, step, data = value  # type: ignore[misc]
            life.report(1, "step", number, step=step, data=data)
        else:
            life.record.write(file, 1)
        assert life.seconds is not None
    life.record.enter("start")
    assert sum(life.seconds.values()) == pytest.approx(life.now - 100, abs=1e-3)
    life.record.write(file, 1)
    line = timeline_file.read(folder)
    assert sum(timeline.total(line).values()) == pytest.approx(life.now - 100, abs=2e-3)


# ---- the file -------------------------------------------------------------------------------------------------------


def test_what_is_being_done_is_written_before_it_is_certain(life: Life, tmp_path: Path) -> None:
    file = TimelineFile(tmp_path)
    life.record.begin_round(0, at=life.now)
    life.now += 8
    life.record.write(file, 0)
    assert timeline.total(timeline_file.read(tmp_path)) == {"start": 10.0, "load": 8.0}, "killed here"
    life.report(2, "step", rendezvous=2.0, load=3.0, step=2.0)
    life.record.write(file, 2)
    assert timeline.total(timeline_file.read(tmp_path)) == {
        "start": 10.0,
        "rendezvous": 2.0,
        "load": 3.0,
        "step": 3.0,
    }
    assert timeline_file.furthest_step(tmp_path) == 2


def test_a_killed_launcher_trained_until_its_last_logged_step(tmp_path: Path) -> None:
    lines = b'{"begin":100,"end":110,"seconds":{"start":10}}\n{"begin":150,"end":160,"seconds":{"start":10}}\n'
    (tmp_path / TIMELINE_FILE).write_bytes(lines)
    assert timeline.total(timeline_file.read(tmp_path)) == {"start": 20.0, "idle": 40.0}
    assert timeline.total(timeline_file.read(tmp_path, [105.0, 130.0, 170.0])) == {
        "start": 20.0,
        "step": 20.0,
        "idle": 20.0,
    }


@pytest.mark.parametrize(
    "text",
    [
        b'{"begin":1,"end":2,"sec',
        b"7",
        b'{"begin":3,"end":2,"seconds":{"step":1}}',
        b'{"begin":1,"end":1e300,"seconds":{"step":1}}',
        b'{"begin":1,"end":2,"seconds":{"step":NaN}}',
        b'{"begin":1,"end":2,"seconds":[1]}',
        b'{"begin":1,"end":2}',
    ],
)
def test_a_line_that_is_not_sound_says_nothing(text: bytes) -> None:
    assert timeline_file.parse(text) is None


def test_seconds_that_do_not_add_up_are_made_to() -> None:
    stretch = timeline_file.parse(b'{"begin":0,"end":10,"seconds":{"step":3,"data":1}}')
    assert stretch is not None
    assert stretch.seconds == {"step": 7.5, "data": 2.5}


# ---- the worker -----------------------------------------------------------------------------------------------------


def test_a_worker_does_one_thing_at_a_time() -> None:
    now = [50.0]
    clock = ActivityClock("data", {"load": 4.0}, 48.0, lambda: now[0])
    assert clock.enter("step") == "data"
    now[0] += 3
    assert clock.seconds == {"load": 4.0, "data": 2.0, "step": 3.0}
    clock.correct("compile")
    now[0] += 1
    clock.enter("data")
    assert clock.seconds == {"load": 4.0, "compile": 1.0, "data": 2.0, "step": 3.0}


def test_a_step_that_was_finished_before_is_done_again() -> None:
    assert [step_activity(step, 12) for step in (12, 13)] == ["rework", "step"]


def test_phases_of_the_launcher_are_not_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10.0]
    monkeypatch.setattr("neuron_trainer.ipc.phases.time.monotonic", lambda: now[0])
    phases = Phases(8.0, {"imports": 6.0, "rendezvous": 1.0})
    for name in ("worker_start", "rendezvous", "model_build", "checkpoint_load"):
        phases.mark(name)
        now[0] += 1
    assert phases.activities() == {"start": 2.0, "rendezvous": 1.0, "load": 2.0}
