"""The seconds of a timeline add up to its length, whatever happens in whichever order."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from neuron_api import timeline
from neuron_api.timeline import REMEDIES, Activity, Change, Stretch

MOMENTS = st.integers(0, 10_000_000).map(lambda thousandths: thousandths / 1000)
ACTIVITIES = st.sampled_from(list(Activity))
CHANGES = st.lists(st.builds(Change, MOMENTS, ACTIVITIES), max_size=30)
SECONDS = st.dictionaries(ACTIVITIES, st.floats(0, 1e6), max_size=15)


def stretch(begin: float, end: float, **seconds: float) -> Stretch:
    return Stretch(begin, end, seconds or {"step": round(end - begin, 3)})


RECORDS = st.lists(
    st.builds(lambda begin, length: stretch(begin, round(begin + length, 3)), MOMENTS, MOMENTS), min_size=1, max_size=20
)


@given(MOMENTS, MOMENTS, ACTIVITIES, CHANGES)
def test_any_order_of_changes_adds_up_to_the_wall_time(
    begin: float, end: float, first: Activity, changes: list[Change]
) -> None:
    stretches = timeline.cut(begin, end, first, changes)
    seconds = timeline.total(stretches)
    assert math.isclose(sum(seconds.values()), max(0.0, end - begin), abs_tol=1e-6)
    assert all(one.end == other.begin for one, other in itertools.pairwise(stretches))


@given(CHANGES, st.randoms(use_true_random=False), ACTIVITIES)
def test_changes_count_by_their_time_and_not_by_their_order(
    changes: list[Change], random: object, first: Activity
) -> None:
    distinct = list({change.time: change for change in changes}.values())
    shuffled = list(distinct)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert timeline.cut(0, 10_000, first, shuffled) == timeline.cut(0, 10_000, first, distinct)


def test_a_change_counts_from_its_moment_on() -> None:
    changes = [Change(30, "step"), Change(5, "placement"), Change(20, "image"), Change(99, "save")]
    seconds = timeline.total(timeline.cut(10, 60, "queue", changes))
    assert seconds == {"placement": 10.0, "image": 10.0, "step": 30.0}


@given(SECONDS, MOMENTS)
def test_shares_are_scaled_to_the_length(seconds: dict[str, float], length: float) -> None:
    parts = timeline.apportion(seconds, length)
    assert sum(round(value * 1000) for value in parts.values()) == round(length * 1000)
    assert all(value > 0 for value in parts.values())


def test_shares_keep_their_proportion() -> None:
    assert timeline.apportion({"step": 6.0, "data": 2.0}, 4.0) == {"step": 3.0, "data": 1.0}
    assert timeline.apportion({}, 2.0) == {"idle": 2.0}


@given(RECORDS)
def test_joined_records_are_one_timeline(records: list[Stretch]) -> None:
    line = timeline.join(records)
    assert all(one.end == other.begin for one, other in itertools.pairwise(line))
    if line:
        seconds = sum(timeline.total(line).values())
        assert math.isclose(seconds, line[-1].end - line[0].begin, abs_tol=1e-6)


def test_a_record_takes_the_place_of_what_was_said_before_of_its_time() -> None:
    certain, provisional = stretch(0, 10, start=10.0), stretch(10, 14, load=4.0)
    better = stretch(10, 20, rendezvous=3.0, load=7.0)
    assert timeline.total(timeline.join([certain, provisional, better])) == {"start": 10, "rendezvous": 3, "load": 7}


def test_what_no_record_speaks_of_is_idle() -> None:
    line = timeline.join([stretch(0, 10), stretch(25, 30)])
    assert timeline.total(line) == {"step": 15.0, "idle": 15.0}


def test_sums_are_in_the_order_of_the_activities_and_words_of_another_release_stay() -> None:
    assert list(timeline.add({"step": 1.0, "thinking": 2.0}, {"queue": 1.0})) == ["queue", "step", "thinking"]


def test_the_largest_loss_is_neither_steps_nor_a_suspension() -> None:
    assert timeline.largest_loss({"step": 50.0, "suspended": 30.0, "load": 4.0, "save": 3.0}) == "load"
    assert timeline.largest_loss({"step": 50.0}) is None


def test_every_loss_has_a_remedy() -> None:
    assert set(REMEDIES) == set(Activity) - {Activity.STEP, Activity.SUSPENDED}
