"""How soon a pod event leads to a pass: bad news at once, a gang that comes up together, a storm of anything together.

A gang of 512 pods that starts or dies sends a thousand events in a second; one pass for many of them is enough. A
single failure must not wait for company: its pod is replaced within the time of a few requests.
"""

from collections.abc import Callable
from typing import Final

from neuron_operator.queue.workqueue import JobKey

COALESCE_SECONDS: Final = 0.2
PRIORITY_SECONDS: Final = 60.0
"""Bad news goes before what has waited for a worker for less: 500 jobs that have just
started held a lost pod up for 2 s. What has waited for longer goes first: a storm of failures starves nobody."""
MAX_IMMEDIATE: Final = 4
"""Passes without a pause for one job: told, deleted, created, and one to spare."""


class EventCoalescer:
    """Called with a job and whether the news is bad."""

    def __init__(self, add: Callable[[JobKey, float], None], monotonic: Callable[[], float]) -> None:
        self._add, self._monotonic = add, monotonic
        self._spent: dict[JobKey, tuple[float, float]] = {}
        """How many passes at once are used up, and when that was; one comes back every `COALESCE_SECONDS`."""

    def __call__(self, key: JobKey, bad: bool) -> None:
        """Request a pass."""
        if not bad:
            self._add(key, COALESCE_SECONDS)
            return
        now = self._monotonic()
        spent, since = self._spent.get(key, (0.0, now))
        spent = max(0.0, spent - (now - since) / COALESCE_SECONDS)
        at_once = spent <= MAX_IMMEDIATE - 1
        self._spent[key] = (spent + 1 if at_once else spent, now)
        self._add(key, -PRIORITY_SECONDS if at_once else COALESCE_SECONDS)

    def forget(self, key: JobKey) -> None:
        """Forget a job that is gone."""
        self._spent.pop(key, None)
