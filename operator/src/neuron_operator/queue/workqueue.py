"""Keys to workers: deduplicated, one pass per key at a time, failures with exponential back-off (controller-runtime's
contract). What a worker calls says when to look again; nothing is ever pushed into a pass.

`DueTimes`, which key is due when, is the pure part: times are seconds of any one clock, always given.
"""

import asyncio
import heapq
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from itertools import count
from typing import Final, Generic, NamedTuple, TypeVar

from neuron_operator.kube.errors import ApiError, LeaseLostError

K = TypeVar("K", bound=Hashable)


class DueTimes(Generic[K]):
    """A key waits once, at its earliest time; while it is being worked on it is not handed out again."""

    def __init__(self) -> None:
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        """Of keys that nobody works on. An entry whose time is not the key's is stale: an earlier wish came."""
        self._order = count()
        self._busy: set[K] = set()

    def __len__(self) -> int:
        return len(self._due)

    def add(self, key: K, at: float) -> None:
        """Request a pass at a time; an earlier request for the same key stands."""
        if key not in self._due or at < self._due[key]:
            self._due[key] = at
            if key not in self._busy:
                self._push(key)

    def take(self, now: float) -> K | None:
        """A key that is due and not being worked on; it is busy until `done`."""
        at = self.next_time()
        if at is None or at > now:
            return None
        key = heapq.heappop(self._heap)[2]
        del self._due[key]
        self._busy.add(key)
        return key

    def done(self, key: K) -> None:
        """The key may be handed out again."""
        if key in self._busy:
            self._busy.discard(key)
            if key in self._due:
                self._push(key)

    def next_time(self) -> float | None:
        """Return when the next key that nobody works on is due; None: nothing waits."""
        while self._heap:
            at, _, key = self._heap[0]
            if key not in self._busy and self._due.get(key) == at:
                return at
            heapq.heappop(self._heap)
        return None

    def oldest_wait(self, now: float) -> float:
        """Seconds that the longest waiting due key has waited; 0 when none is due."""
        return max((now - at for at in self._due.values()), default=0.0) if self._due else 0.0

    def _push(self, key: K) -> None:
        heapq.heappush(self._heap, (self._due[key], next(self._order), key))


log = logging.getLogger(__name__)

FIRST_DELAY: Final = 0.5
MAX_DELAY: Final = 120.0
FIRST_RESYNC: Final = 10.0
"""Seconds; doubled up to the set interval: what went wrong at the start is found soon."""
RESYNC_PER_SECOND: Final = 50.0
"""Jobs, on average: a pass is some 5 ms, and 500 within the first second held a failed pod up for 2.8 s."""
PASS_TIMEOUT: Final = 120.0
"""Seconds that one pass may take: a bound above the sum of its requests' bounds that no healthy pass comes near."""


class JobKey(NamedTuple):
    """A job."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Result:
    """When the key is to be looked at again; None: when something happens."""

    requeue_after: float | None = None


Reconcile = Callable[[JobKey], Awaitable[Result]]
Observe = Callable[[str, float], None]
"""Called with the result (`success`, `error`, `bug`) and seconds of a pass."""


class WorkQueue:
    """The operator's only queue."""

    def __init__(self, observe: Observe = lambda *_: None) -> None:
        self._schedule: DueTimes[JobKey] = DueTimes()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._failures: dict[JobKey, int] = {}
        self._observe = observe

    def __len__(self) -> int:
        return len(self._schedule)

    def add(self, key: JobKey, after: float = 0.0) -> None:
        """Request a pass; an earlier request stands. `after` may be negative: before what has been due for a shorter
        time."""
        self._schedule.add(key, _now() + after)
        self._call()

    def oldest_wait(self) -> float:
        """Seconds that a due key has waited for a worker."""
        return max(0.0, self._schedule.oldest_wait(_now()))

    async def work(self, reconcile: Reconcile) -> None:
        """A worker: forever."""
        while True:
            key = await self._take()
            started, outcome = _now(), "bug"
            try:
                async with asyncio.timeout(PASS_TIMEOUT):
                    result = await reconcile(key)
                self._failures.pop(key, None)
                outcome = "success"
                if result.requeue_after is not None:
                    self.add(key, result.requeue_after)
            except LeaseLostError:
                raise
            except (ApiError, TimeoutError) as problem:
                outcome = "error"
                log.warning("%s: %s; again in %.1f s", key, problem, self._again(key, problem))
            except Exception:
                log.exception("%s: a bug of the operator; again in %.1f s", key, self._again(key))
            finally:
                self._schedule.done(key)
                self._call()
                self._observe(outcome, _now() - started)

    async def resync(self, keys: Callable[[], Awaitable[list[JobKey]]], seconds: float) -> None:
        """Look at every job again and again: events that a broken watch did not bring are made up for
        (upstream-facts.md#kopf-watch)."""
        pause = min(FIRST_RESYNC, seconds)
        while True:
            try:
                listed = await keys()
                spread = max(pause / 10, len(listed) / RESYNC_PER_SECOND)
                for key in listed:
                    self.add(key, random.uniform(0, spread))
            except ApiError as problem:
                log.warning("the jobs cannot be listed: %s", problem)
            await asyncio.sleep(pause)
            pause = min(2 * pause, seconds)

    async def _take(self) -> JobKey:
        while (key := self._schedule.take(_now())) is None:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            self._call()
            await waiting
        self._call()  # there may be more, for another worker
        return key

    def _call(self) -> None:
        """One waiting worker for the next key that is due, now or by a timer: the others sleep on."""
        while self._waiting and self._waiting[0].done():  # cancelled
            self._waiting.popleft()
        at = self._schedule.next_time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at is None or not self._waiting:
            return
        if at <= _now():
            self._waiting.popleft().set_result(None)
        else:
            self._timer = asyncio.get_running_loop().call_at(at, self._call)

    def _again(self, key: JobKey, problem: BaseException | None = None) -> float:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(FIRST_DELAY * 2.0 ** min(failures, 16), MAX_DELAY) * random.uniform(0.8, 1.2)
        delay = max(delay, getattr(problem, "retry_after", None) or 0.0)
        self.add(key, delay)
        return delay


def _now() -> float:
    return asyncio.get_running_loop().time()
