"""How soon a pod event leads to a pass."""

from neuron_operator.cache.pod_watch import COALESCE_SECONDS, MAX_IMMEDIATE, PRIORITY_SECONDS, EventCoalescer
from neuron_operator.queue.workqueue import JobKey

from .fakes import Clock

A, B = JobKey("ns", "a"), JobKey("ns", "b")


class Queue(list[float]):
    """Delays, in order."""

    def add(self, key: JobKey, after: float) -> None:
        self.append(after)


def test_a_gang_that_comes_up_is_looked_at_once_a_while() -> None:
    queue = Queue()
    gather = EventCoalescer(queue.add, Clock())
    for _ in range(3):
        gather(A, False)
    assert queue == [COALESCE_SECONDS] * 3


def test_a_failure_is_looked_at_at_once_and_so_is_what_follows_from_it() -> None:
    queue = Queue()
    gather = EventCoalescer(queue.add, Clock())
    for _ in range(MAX_IMMEDIATE):
        gather(A, True)
    assert queue == [-PRIORITY_SECONDS] * MAX_IMMEDIATE


def test_a_storm_of_failures_of_one_job_is_gathered_and_another_job_does_not_wait_for_it() -> None:
    queue = Queue()
    gather = EventCoalescer(queue.add, Clock())
    for _ in range(100):
        gather(A, True)
    assert queue[MAX_IMMEDIATE:] == [COALESCE_SECONDS] * (100 - MAX_IMMEDIATE)
    gather(B, True)
    assert queue[-1] == -PRIORITY_SECONDS


def test_after_a_quiet_while_bad_news_is_urgent_again() -> None:
    queue, clock = Queue(), Clock()
    gather = EventCoalescer(queue.add, clock)
    for _ in range(10):
        gather(A, True)
    clock.now += MAX_IMMEDIATE * COALESCE_SECONDS
    gather(A, True)
    assert queue[-1] == -PRIORITY_SECONDS


def test_a_job_that_is_gone_is_forgotten() -> None:
    queue = Queue()
    gather = EventCoalescer(queue.add, Clock())
    for _ in range(10):
        gather(A, True)
    gather.forget(A)
    gather(A, True)
    assert queue[-1] == -PRIORITY_SECONDS
