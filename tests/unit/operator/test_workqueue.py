"""Workers around the schedule: what becomes of a pass that fails, hangs or wants another."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from bounds import BOUND
from neuron_operator.cache.pod_watch import PRIORITY_SECONDS, EventCoalescer
from neuron_operator.kube.errors import LeaseLostError, UnavailableError
from neuron_operator.queue import workqueue
from neuron_operator.queue.workqueue import JobKey, Result, WorkQueue

A, B = JobKey("ns", "a"), JobKey("ns", "b")


@asynccontextmanager
async def working(
    queue: WorkQueue, reconcile: Callable[[JobKey], Awaitable[Result]], workers: int = 2
) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(queue.work(reconcile)) for _ in range(workers)]
    try:
        async with asyncio.timeout(BOUND):
            yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def everybody() -> None:
    """Let all tasks come to where they wait."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_key_added_while_it_is_worked_on_is_worked_on_again_afterwards() -> None:
    queue, running, release, calls = WorkQueue(), asyncio.Event(), asyncio.Event(), []
    both = asyncio.Event()

    async def reconcile(key: JobKey) -> Result:
        calls.append(key)
        running.set()
        if len(calls) == 1:
            await release.wait()
        else:
            both.set()
        return Result()

    async with working(queue, reconcile):
        queue.add(A)
        await running.wait()
        for _ in range(5):
            queue.add(A)
        assert calls == [A]
        release.set()
        await both.wait()
    assert calls == [A, A]


async def test_bad_news_goes_before_what_is_due_but_not_before_what_has_waited_long() -> None:
    queue, calls = WorkQueue(), list[str]()

    async def reconcile(key: JobKey) -> Result:
        calls.append(key.name)
        return Result()

    queue.add(JobKey("ns", "long"), -2 * PRIORITY_SECONDS)
    for number in range(3):
        queue.add(JobKey("ns", f"due-{number}"))
    EventCoalescer(queue.add, time.monotonic)(JobKey("ns", "lost"), True)
    async with working(queue, reconcile, workers=1):
        await everybody()
    assert calls == ["long", "lost", "due-0", "due-1", "due-2"]


async def test_one_key_wakes_one_worker_and_many_keys_all_of_them() -> None:
    """Eight that wake for each of 500 keys were a tenth of the operator's time with nothing to do (py-spy)."""
    queue, taken, together = WorkQueue(), 0, asyncio.Event()
    take = queue._schedule.take

    def counted(now: float) -> JobKey | None:
        nonlocal taken
        taken += 1
        return take(now)

    queue._schedule.take = counted  # type: ignore[method-assign]
    running: set[JobKey] = set()

    async def reconcile(key: JobKey) -> Result:
        running.add(key)
        if len(running) == 8:
            together.set()
        await together.wait()
        return Result()

    async with working(queue, reconcile, workers=8):
        await everybody()
        before = taken
        queue.add(A)
        await everybody()
        assert running == {A}
        assert taken - before == 1
        for number in range(7):
            queue.add(JobKey("ns", f"job-{number}"), 0.001)
        await together.wait()


async def test_a_key_that_is_due_later_is_worked_on_then_also_when_an_earlier_one_comes() -> None:
    queue, calls, both = WorkQueue(), list[JobKey](), asyncio.Event()

    async def reconcile(key: JobKey) -> Result:
        calls.append(key)
        if len(calls) == 2:
            both.set()
        return Result()

    async with working(queue, reconcile, workers=1):
        queue.add(A, 0.05)
        await everybody()
        queue.add(B, 0.01)
        await both.wait()
    assert calls == [B, A]


async def test_a_result_asks_for_another_pass() -> None:
    queue, calls, third = WorkQueue(), 0, asyncio.Event()

    async def reconcile(_: JobKey) -> Result:
        nonlocal calls
        calls += 1
        if calls == 3:
            third.set()
            return Result()
        return Result(0.0)

    async with working(queue, reconcile):
        queue.add(A)
        await third.wait()
    assert len(queue) == 0


@pytest.mark.parametrize("problem", [UnavailableError(503, "", "away"), KeyError("a bug")])
async def test_a_pass_that_fails_is_tried_again_and_does_not_hold_up_others(
    problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workqueue, "FIRST_DELAY", 0.001)
    outcomes: list[str] = []
    queue, done, calls = WorkQueue(lambda outcome, _: outcomes.append(outcome)), asyncio.Event(), {A: 0, B: 0}

    async def reconcile(key: JobKey) -> Result:
        calls[key] += 1
        if key == A and calls[A] < 3:
            raise problem
        if calls[A] >= 3 and calls[B]:
            done.set()
        return Result()

    async with working(queue, reconcile, workers=1):
        queue.add(A)
        queue.add(B)
        await done.wait()
    assert calls == {A: 3, B: 1}
    assert outcomes.count("error" if isinstance(problem, UnavailableError) else "bug") == 2


async def test_the_servers_retry_after_is_obeyed_and_the_delay_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, _high: 1.0)
    queue = WorkQueue()
    delays = [queue._again(A) for _ in range(12)]
    assert delays[:4] == [0.5, 1.0, 2.0, 4.0]
    assert delays[-1] == workqueue.MAX_DELAY
    assert queue._again(B, UnavailableError(429, "", "slow down", retry_after=33.0)) == 33.0


async def test_a_pass_that_hangs_is_ended_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workqueue, "PASS_TIMEOUT", 0.01)
    outcomes: list[str] = []
    seen = asyncio.Event()

    def observe(outcome: str, _: float) -> None:
        outcomes.append(outcome)
        seen.set()

    queue = WorkQueue(observe)

    async def reconcile(_: JobKey) -> Result:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async with working(queue, reconcile):
        queue.add(A)
        await seen.wait()
    assert outcomes[0] == "error"


async def test_a_lost_lease_ends_the_worker() -> None:
    queue = WorkQueue()

    async def reconcile(_: JobKey) -> Result:
        raise LeaseLostError("gone")

    queue.add(A)
    with pytest.raises(LeaseLostError):
        async with asyncio.timeout(BOUND):
            await queue.work(reconcile)


async def test_a_resync_of_many_jobs_leaves_room_for_what_happens_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    queue, asked = WorkQueue(), asyncio.Event()

    async def keys() -> list[JobKey]:
        asked.set()
        return [JobKey("ns", f"job-{number}") for number in range(1000)]

    start = asyncio.get_running_loop().time()
    task = asyncio.create_task(queue.resync(keys, 300.0))
    await asked.wait()
    await everybody()
    task.cancel()
    due = queue._schedule.next_time()
    assert due is not None
    assert due - start > 1000 / workqueue.RESYNC_PER_SECOND - 1


async def test_a_resync_adds_every_listed_key_and_survives_a_server_that_is_away() -> None:
    queue, answers, asked = WorkQueue(), iter([UnavailableError(503, "", "away"), [A, B]]), asyncio.Event()

    async def keys() -> list[JobKey]:
        answer = next(answers, None)
        if answer is None:
            asked.set()
            return []
        if isinstance(answer, Exception):
            raise answer
        return answer

    task = asyncio.create_task(queue.resync(keys, 0.001))
    async with asyncio.timeout(BOUND):
        await asked.wait()
    task.cancel()
    assert len(queue) == 2
