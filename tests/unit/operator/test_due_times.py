"""The pure part of the work queue, with a clock that is a number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_operator.queue.workqueue import DueTimes


def test_a_key_waits_once_at_its_earliest_time() -> None:
    schedule: DueTimes[str] = DueTimes()
    schedule.add("a", 10)
    schedule.add("a", 5)
    schedule.add("a", 20)
    assert len(schedule) == 1
    assert schedule.take(4) is None
    assert schedule.next_time() == 5
    assert schedule.take(5) == "a"
    assert schedule.take(100) is None


def test_a_key_that_is_worked_on_is_handed_out_again_only_when_done() -> None:
    schedule: DueTimes[str] = DueTimes()
    schedule.add("a", 0)
    assert schedule.take(0) == "a"
    schedule.add("a", 0)
    schedule.add("b", 1)
    assert schedule.take(1) == "b"
    assert schedule.take(1) is None
    assert schedule.next_time() is None  # nobody need wake up for a busy key
    schedule.done("a")
    assert schedule.take(1) == "a"


def test_keys_come_in_the_order_of_their_times_and_then_of_their_arrival() -> None:
    schedule: DueTimes[str] = DueTimes()
    for key, at in (("late", 2), ("first", 1), ("second", 1)):
        schedule.add(key, at)
    assert [schedule.take(3) for _ in range(3)] == ["first", "second", "late"]


def test_the_longest_wait_is_that_of_the_oldest_due_key() -> None:
    schedule: DueTimes[str] = DueTimes()
    assert schedule.oldest_wait(7) == 0
    schedule.add("a", 2)
    schedule.add("b", 5)
    assert schedule.oldest_wait(7) == 5


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3), st.integers(0, 5)),
        st.tuples(st.just("take"), st.integers(0, 3), st.integers(0, 5)),
        st.tuples(st.just("done"), st.integers(0, 3), st.just(0)),
    )
)


@pytest.mark.slow
@given(steps)
def test_a_key_is_never_in_two_hands_and_no_wish_is_lost(script: list[tuple[str, int, int]]) -> None:
    schedule: DueTimes[int] = DueTimes()
    now, busy, wanted = 0.0, set[int](), dict[int, float]()
    for verb, key, amount in script:
        if verb == "add":
            schedule.add(key, now + amount)
            wanted[key] = min(wanted.get(key, now + amount), now + amount)
        elif verb == "done":
            schedule.done(key)
            busy.discard(key)
        else:
            now += amount
            taken = schedule.take(now)
            due = {one for one, at in wanted.items() if at <= now and one not in busy}
            assert (taken in due) if due else (taken is None)
            if taken is not None:
                busy.add(taken)
                del wanted[taken]
        idle = [at for one, at in wanted.items() if one not in busy]
        assert schedule.next_time() == min(idle, default=None)
    assert len(schedule) == len(wanted)
