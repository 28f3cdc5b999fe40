"""The watch of pods: what feeds the pod store, how soon its events lead to a pass, and whether it still brings them.

`PodWatch`: one listing, then the events after it; again from the last event when the stream ends. Ours and not kopf's
for its cost alone: 0.1 ms of CPU per pod event instead of about 1 ms (upstream-facts.md#kopf-cost). The API server cuts
slow watchers in a burst, and forgets old versions (410): then there is another listing, and whatever was missed,
deletions too, is seen as a difference to it. Every wait has a bound: a silent stream is opened again.

`EventCoalescer`: bad news leads to a pass at once, a gang that comes up together, a storm of anything together. A gang
of 512 pods that starts or dies sends a thousand events in a second; one pass for many of them is enough. A single
failure must not wait for company: its pod is replaced within the time of a few requests.

`WatchStalenessDetector`: kopf may live on and be blind (upstream-facts.md#kopf-watch). At every resync the listed
versions are compared with those that events have brought. An object whose version no event had brought at one listing,
and of which no event has told until the next, was missed: the process ends and a new one watches again.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from neuron_api import contract
from neuron_operator.kube import gateway as api
from neuron_operator.kube.errors import ApiError, ExpiredError
from neuron_operator.kube.gateway import Cluster
from neuron_operator.queue.workqueue import JobKey

from .pod_store import PodStore

K = TypeVar("K")


class WatchStalenessDetector(Generic[K]):
    """What events have brought; kept as long as the object is listed."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic, self._confirmed_at = monotonic, monotonic()
        self._versions: dict[K, str] = {}
        self._behind: dict[K, str | None] = {}
        """What had been seen of the keys that were behind at the last listing."""

    def observe_event(self, key: K, version: str) -> None:
        """Note the version that an event brought."""
        self._versions[key] = version
        self._confirmed_at = self._monotonic()

    def age(self) -> float:
        """Seconds since the watch has shown that it brings what happens."""
        return self._monotonic() - self._confirmed_at

    def missed_keys(self, listed: Mapping[K, str]) -> list[K]:
        """Keys that were behind at the last listing, are still, and of which no event has told in between."""
        self._versions = {key: version for key, version in self._versions.items() if key in listed}
        behind = {key: self._versions.get(key) for key, version in listed.items() if self._versions.get(key) != version}
        missed = [key for key, version in behind.items() if key in self._behind and self._behind[key] == version]
        self._behind = behind
        if not behind:
            self._confirmed_at = self._monotonic()
        return missed


COALESCE_SECONDS: Final = 0.2
PRIORITY_SECONDS: Final = 60.0
"""Bad news goes before what has waited for a worker for less: 500 jobs that have just
started held a lost pod up for 2 s. What has waited for longer goes first: a storm of failures starves nobody."""
MAX_IMMEDIATE: Final = 4
"""Passes without a pause for one job: recorded, deleted, created, and one to spare."""


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


log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.2
MAX_PAUSE: Final = 30.0
"""Seconds before the next try, where the API server gives no answer."""


class PodWatch:
    """For all namespaces, or for some."""

    def __init__(self, cluster: Cluster, store: PodStore, namespaces: Sequence[str]) -> None:
        self._cluster, self._store, self._namespaces = cluster, store, tuple(namespaces) or ("",)
        store.expect(self._namespaces)
        self.listings = 0
        """How often everything was listed (metrics, tests)."""

    async def run(self) -> None:
        """Watch all namespaces, forever."""
        async with asyncio.TaskGroup() as group:
            for namespace in self._namespaces:
                group.create_task(self._keep(namespace))

    async def _keep(self, namespace: str) -> None:
        version, pause = "", FIRST_PAUSE
        while True:
            try:
                if not version:
                    version = await self._list(namespace)
                version = await self._follow(namespace, version)
                pause = FIRST_PAUSE
                continue
            except ExpiredError:
                log.info("the pod watch is too far behind: listing again")
                version = ""
            except ApiError as problem:
                log.warning("pods cannot be watched: %s; again in %.1f s", problem, pause)
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(2 * pause, MAX_PAUSE)

    async def _list(self, namespace: str) -> str:
        bodies, version = await self._cluster.list_with_version(api.POD, namespace, contract.LABEL_JOB)
        self._store.replace(namespace, bodies)
        self.listings += 1
        return version

    async def _follow(self, namespace: str, version: str) -> str:
        """Store events until the stream ends, in whatever way; return the version to go on from."""
        try:
            async for kind, body in self._cluster.watch(api.POD, namespace, contract.LABEL_JOB, version):
                if kind != "BOOKMARK":
                    self._store.event(kind, body)
                version = body["metadata"]["resourceVersion"]
        except ExpiredError:
            raise
        except ApiError as problem:
            log.info("the pod watch ended: %s", problem)
            await asyncio.sleep(FIRST_PAUSE)
        return version
