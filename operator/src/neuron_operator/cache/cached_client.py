"""`Cluster` with a memory: pods out of the watch, what the operator made itself for a while, its own last status write.

It serves passes that change nothing, which are most of them, and those that replace a pod that has ended. Any other
plan that deletes, replaces or ends something is made again from what the API server says at that moment
(`planning.cache_safety`): the memory may be behind.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from neuron_api import contract
from neuron_operator.kube import gateway as api
from neuron_operator.kube.gateway import Cluster, Kind
from neuron_operator.queue.workqueue import JobKey

from .pod_store import PodStore

Json = dict[str, Any]
Where = tuple[str, str, str]

MAX_AGE_SECONDS: Final = 300.0
"""A Service that somebody deletes is recreated after so long, or by the pass after a pod was replaced."""
WRITTEN_SECONDS: Final = 1.0
"""A status that was written so shortly ago is what a read would give."""
_MAX_OBJECTS: Final = 20_000
MAX_TEXT: Final = 65_536
"""Characters of a ConfigMap that is remembered: its configuration may have 1 MB, and thousands of jobs one each."""
_REMEMBERED: Final[Mapping[str, Kind]] = {"Service": api.SERVICE, "ConfigMap": api.CONFIG_MAP}
_PREFIX: Final = f"{contract.LABEL_JOB}="


def _is_owned_by(body: Json, key: JobKey) -> bool:
    owners = body["metadata"].get("ownerReferences", ())
    return body["metadata"]["namespace"] == key.namespace and any(owner.get("name") == key.name for owner in owners)


def _is_small(body: Json) -> bool:
    return sum(len(str(text)) for text in (body.get("data") or {}).values()) <= MAX_TEXT


class PodView(Cluster):
    """The same verbs; pods of a job come from the store, everything else is asked for."""

    def __init__(self, live: Cluster, store: PodStore) -> None:
        vars(self).update(vars(live))  # one connection, one bound on requests, one count
        self._store = store

    async def list(self, kind: Kind, namespace: str = "", selector: str = "") -> list[Json]:
        """Pods of a job from the store; everything else asked for."""
        if kind == api.POD and selector.startswith(_PREFIX):
            await self._store.complete()
            return self._store.job_pods(JobKey(namespace, selector.removeprefix(_PREFIX)))
        return await super().list(kind, namespace, selector)


class CachedClient(PodView):
    """With a memory of its own writes as well."""

    def __init__(self, live: Cluster, store: PodStore, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(live, store)
        self._monotonic, self._alert = monotonic, PodView(live, store)
        self._to_check: set[JobKey] = set()
        self._made: dict[Where, tuple[float, Json]] = {}
        self._written: dict[Where, tuple[float, Json]] = {}
        self._versions: dict[JobKey, str] = {}

    # ---- reads ------------------------------------------------------------------------------------------------------

    async def find(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """Return an object, from memory where that is good enough."""
        where = (kind.plural, namespace, name)
        if kind == api.JOB and (written := self._written.pop(where, None)) and self._age(written) < WRITTEN_SECONDS:
            return written[1]
        if (made := self._made.get(where)) and self._age(made) < MAX_AGE_SECONDS:
            return made[1]
        body = await super().find(kind, namespace, name)
        self._remember(kind, where, body)
        return body

    def for_pass(self, key: JobKey) -> Cluster:
        """Return what a pass reads from: memory while a pod that ended is being replaced, the next one everything but
        pods.

        A successor waits for a Service or ConfigMap that somebody has deleted; it does not have to wait for our asking.
        """
        if self._store.has_failed(key):
            self._to_check.add(key)
        elif key in self._to_check:
            self._to_check.discard(key)
            return self._alert
        return self

    def wrote(self, key: JobKey, version: str) -> bool:
        """Return whether this version of a job is the last one that this operator wrote: its event is no news."""
        return self._versions.get(key) == version

    # ---- writes -----------------------------------------------------------------------------------------------------

    async def create(self, kind: Kind, body: Mapping[str, Any]) -> Json:
        """A pod is in the store before its event comes."""
        made = await super().create(kind, body)
        if kind == api.POD:
            self._store.created(made)
        return made

    async def apply(self, body: Mapping[str, Any]) -> Json:
        """Apply an object and remember it."""
        made = await super().apply(body)
        if kind := _REMEMBERED.get(body["kind"]):
            metadata = body["metadata"]
            self._remember(kind, (kind.plural, metadata["namespace"], metadata["name"]), made)
        return made

    async def replace(self, kind: Kind, body: Mapping[str, Any], subresource: str = "") -> Json:
        """The answer is what the next pass would read."""
        made = await super().replace(kind, body, subresource)
        if kind == api.JOB:
            metadata = made["metadata"]
            key = JobKey(metadata["namespace"], metadata["name"])
            self._keep_written((kind.plural, *key), made)
            self._versions[key] = metadata["resourceVersion"]
        return made

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str, *, grace: int | None = None) -> None:
        """Delete an object and forget it."""
        self._made.pop((kind.plural, namespace, name), None)
        await super().delete(kind, namespace, name, uid, grace=grace)

    def forget(self, key: JobKey) -> None:
        """The job is gone, and what it owned is going."""
        self._versions.pop(key, None)
        self._to_check.discard(key)
        for where in [where for where, (_, body) in self._made.items() if _is_owned_by(body, key)]:
            del self._made[where]
        self._written.pop((api.JOB.plural, *key), None)

    # ---- memory -----------------------------------------------------------------------------------------------------

    def _remember(self, kind: Kind, where: Where, body: Json | None) -> None:
        """Remember what a job owns, and that a claim exists; nothing else, since others may change it with meaning."""
        owned = body is not None and any(
            owner.get("controller") and owner.get("kind") == contract.KIND
            for owner in body["metadata"].get("ownerReferences", ())
        )
        if body is not None and (kind == api.CLAIM or (kind in _REMEMBERED.values() and owned and _is_small(body))):
            self._made[where] = (self._monotonic(), body)
        else:
            self._made.pop(where, None)
        while len(self._made) > _MAX_OBJECTS:
            self._made.pop(next(iter(self._made)))

    def _keep_written(self, where: Where, body: Json) -> None:
        """Bodies of jobs may have a megabyte: those that are too old to be read go."""
        self._written.pop(where, None)
        self._written[where] = (self._monotonic(), body)
        while self._age(self._written[oldest := next(iter(self._written))]) >= WRITTEN_SECONDS:
            del self._written[oldest]

    def _age(self, entry: tuple[float, Json]) -> float:
        return self._monotonic() - entry[0]
